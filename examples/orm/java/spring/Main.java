// Append events with Spring's JdbcTemplate: java -cp classes:spring….jar:postgresql.jar Main jdbc:postgresql://…
import java.util.List;
import java.util.Map;
import javax.sql.DataSource;
import org.springframework.core.SpringVersion;
import org.springframework.jdbc.core.JdbcTemplate;
import org.springframework.jdbc.core.namedparam.MapSqlParameterSource;
import org.springframework.jdbc.core.namedparam.NamedParameterJdbcTemplate;
import org.springframework.jdbc.core.simple.SimpleJdbcInsert;
import org.springframework.jdbc.datasource.DataSourceTransactionManager;
import org.springframework.jdbc.datasource.DriverManagerDataSource;
import org.springframework.jdbc.support.GeneratedKeyHolder;
import org.springframework.transaction.support.TransactionTemplate;

public class Main {
    public static void main(String[] args) {
        DataSource source = new DriverManagerDataSource(args[0]);
        JdbcTemplate jdbc = new JdbcTemplate(source);
        NamedParameterJdbcTemplate named = new NamedParameterJdbcTemplate(source);
        TransactionTemplate transaction = new TransactionTemplate(new DataSourceTransactionManager(source));

        // It reads the columns and their types from the database, so that JSON needs no cast.
        SimpleJdbcInsert events = new SimpleJdbcInsert(source).withTableName("outbox").usingGeneratedKeyColumns("id")
            .usingColumns("topic", "type", "payload", "headers", "dedup_key");
        SimpleJdbcInsert items = new SimpleJdbcInsert(source).withTableName("item").usingGeneratedKeyColumns("id");

        Scenes.stack("Spring JDBC", SpringVersion.getVersion());

        Scenes.scene("one", () ->
            events.executeAndReturnKey(Map.of("topic", "orm/one", "type", "item.added", "payload", "{\"item\": 1}")));

        Scenes.scene("many", () -> {
            // A batch returns no keys.
            jdbc.batchUpdate("INSERT INTO outbox (topic, type, payload) VALUES (?, ?, ?::json)", List.of(
                new Object[] {"orm/many", "item.added", "{\"item\": 1}"},
                new Object[] {"orm/many", "item.added", "{\"item\": 2}"},
                new Object[] {"orm/many", "item.added", "{\"item\": 3}"}));
            return null;
        });

        Scenes.scene("transaction", () -> transaction.execute(status -> {
            Number item = items.executeAndReturnKey(Map.of("name", "lamp"));
            return events.executeAndReturnKey(
                Map.of("topic", "orm/transaction", "type", "item.added", "payload", "{\"item\": " + item + "}"));
        }));

        Scenes.scene("rollback", () -> transaction.execute(status -> {
            items.execute(Map.of("name", "ghost"));
            events.execute(Map.of("topic", "orm/rollback", "type", "item.added"));
            status.setRollbackOnly();
            return null;
        }));

        Scenes.scene("returning", () -> {
            GeneratedKeyHolder keys = new GeneratedKeyHolder();
            named.update("INSERT INTO outbox (topic, type, payload) VALUES (:topic, :type, :payload::json)",
                new MapSqlParameterSource("topic", "orm/returning").addValue("type", "item.added").addValue("payload", "{\"item\": 4}"),
                keys, new String[] {"id", "source", "created_at"});
            if (keys.getKeys().get("created_at") == null || !keys.getKeys().get("source").equals("/")) {
                throw new IllegalStateException("not read back");
            }
            return keys.getKeys().get("id");
        });

        Scenes.scene("null", () -> new SimpleJdbcInsert(source).withTableName("outbox").usingGeneratedKeyColumns("id")
            .executeAndReturnKey(Map.of("topic", "orm/null", "type", "item.added"))); // NULL for all columns but the key

        Scenes.scene("default", () -> jdbc.queryForObject(
            "INSERT INTO outbox (id, topic, type, payload, source, headers, dedup_key, deliver_at, created_at)"
                + " VALUES (DEFAULT, ?, ?, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT) RETURNING id",
            Long.class, "orm/default", "item.added"));

        Scenes.scene("json", () -> events.executeAndReturnKey(Map.of(
            "topic", "orm/json",
            "type", "item.added",
            "payload", "{\"item\": {\"name\": \"Lämpchen 灯\", \"tags\": [\"new\", 2, null], \"price\": 9.5}}",
            "headers", "{\"traceparent\": \"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\"}")));

        Scenes.scene("retry", () -> {
            Scenes.Work pay = () -> transaction.execute(status -> events.executeAndReturnKey(
                Map.of("topic", "orm/retry", "type", "item.paid", "payload", "{\"item\": 7}", "dedup_key", "item-7-paid")));
            return List.of(pay.run(), pay.run());
        });

        Scenes.scene("clone", () -> {
            Map<String, Object> event = transaction.execute(status -> {
                events.execute(Map.of("topic", "orm/clone", "type", "item.added", "payload", "{\"item\": 8}"));
                return jdbc.queryForMap("SELECT * FROM outbox WHERE topic = 'orm/clone'");
            });
            // usingGeneratedKeyColumns leaves the loaded id out.
            return List.of(event.get("id"), events.executeAndReturnKey(event));
        });

        Scenes.scene("read", () -> transaction.execute(status -> {
            events.execute(Map.of("topic", "orm/read", "type", "item.added", "payload", "{\"item\": 9}"));
            return jdbc.queryForObject("SELECT id FROM outbox WHERE topic = 'orm/read'", Long.class);
        }));
    }
}
