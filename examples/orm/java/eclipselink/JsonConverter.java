import java.sql.SQLException;
import javax.persistence.AttributeConverter;
import javax.persistence.Converter;
import org.postgresql.util.PGobject;

/** JSON as a string in the entity: the driver would send it as varchar, which Postgres refuses for json. */
@Converter
public class JsonConverter implements AttributeConverter<String, Object> {
    @Override
    public Object convertToDatabaseColumn(String json) {
        try {
            PGobject value = new PGobject();
            value.setType("json");
            value.setValue(json);
            return value;
        } catch (SQLException e) {
            throw new IllegalArgumentException(e);
        }
    }

    @Override
    public String convertToEntityAttribute(Object value) {
        return value == null ? null : value.toString();
    }
}
