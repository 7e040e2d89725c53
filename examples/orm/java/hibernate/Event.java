import java.util.Date;
import javax.persistence.Column;
import javax.persistence.Entity;
import javax.persistence.GeneratedValue;
import javax.persistence.GenerationType;
import javax.persistence.Id;
import javax.persistence.Table;
import org.hibernate.annotations.ColumnTransformer;

/** A row of the view. IDENTITY: the view draws the id; a SEQUENCE of the application's would only disagree with it. */
@Entity
@Table(name = "outbox")
public class Event {
    @Id
    @GeneratedValue(strategy = GenerationType.IDENTITY)
    Long id;

    String topic;

    String type;

    @Column(columnDefinition = "json") // for hbm2ddl.auto=validate
    @ColumnTransformer(write = "?::json")
    String payload;

    String source;

    @Column(columnDefinition = "jsonb")
    @ColumnTransformer(write = "?::jsonb")
    String headers;

    @Column(name = "dedup_key")
    String dedupKey;

    @Column(name = "deliver_at")
    Date deliverAt;

    @Column(name = "created_at", insertable = false)
    Date createdAt;

    protected Event() {
    }

    Event(String topic, String type, String payload) {
        this.topic = topic;
        this.type = type;
        this.payload = payload;
    }
}
