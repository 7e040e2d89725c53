import java.util.Date;
import javax.persistence.Column;
import javax.persistence.Convert;
import javax.persistence.Entity;
import javax.persistence.GeneratedValue;
import javax.persistence.GenerationType;
import javax.persistence.Id;
import javax.persistence.Table;
import javax.persistence.Temporal;
import javax.persistence.TemporalType;
import org.eclipse.persistence.annotations.ReturnInsert;

/** A row of the view. IDENTITY: the view draws the id; a SEQUENCE of the application's would only disagree with it. */
@Entity
@Table(name = "outbox")
public class Event {
    @Id
    @ReturnInsert(returnOnly = true)
    Long id;

    String topic;

    String type;

    @Convert(converter = JsonConverter.class)
    String payload;

    String source;

    @Convert(converter = JsonConverter.class)
    String headers;

    @Column(name = "dedup_key")
    String dedupKey;

    @Column(name = "deliver_at")
    @Temporal(TemporalType.TIMESTAMP)
    Date deliverAt;

    @Column(name = "created_at")
    @ReturnInsert(returnOnly = true)
    @Temporal(TemporalType.TIMESTAMP)
    Date createdAt;

    protected Event() {
    }

    Event(String topic, String type, String payload) {
        this.topic = topic;
        this.type = type;
        this.payload = payload;
    }
}
