// Append events with JDBC: java -cp classes:postgresql.jar Main jdbc:postgresql://…
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.sql.Types;
import java.util.ArrayList;
import java.util.List;

public class Main {
    /** The driver sends text for a string; the cast makes JSON of it. */
    static final String INSERT = "INSERT INTO outbox (topic, type, payload) VALUES (?, ?, ?::json)";

    static Connection conn;

    public static void main(String[] args) throws SQLException {
        conn = DriverManager.getConnection(args[0]);
        conn.setAutoCommit(false);
        Scenes.stack("JDBC", org.postgresql.util.DriverInfo.DRIVER_VERSION);

        Scenes.scene("one", () -> committed(() -> append("orm/one", "item.added", "{\"item\": 1}")));

        Scenes.scene("many", () -> committed(() -> {
            try (PreparedStatement insert = conn.prepareStatement(INSERT, Statement.RETURN_GENERATED_KEYS)) {
                for (int n = 1; n <= 3; n++) {
                    insert.setString(1, "orm/many");
                    insert.setString(2, "item.added");
                    insert.setString(3, "{\"item\": " + n + "}");
                    insert.addBatch();
                }
                insert.executeBatch();
                return keys(insert);
            }
        }));

        Scenes.scene("transaction", () -> committed(() -> {
            try (PreparedStatement item = conn.prepareStatement(
                    "INSERT INTO item (name) VALUES (?)", Statement.RETURN_GENERATED_KEYS)) {
                item.setString(1, "lamp");
                item.executeUpdate();
                return append("orm/transaction", "item.added", "{\"item\": " + keys(item).get(0) + "}");
            }
        }));

        Scenes.scene("rollback", () -> {
            try (Statement statement = conn.createStatement()) {
                statement.executeUpdate("INSERT INTO item (name) VALUES ('ghost')");
                append("orm/rollback", "item.added", null);
            }
            conn.rollback();
            return null;
        });

        Scenes.scene("returning", () -> committed(() -> {
            // RETURN_GENERATED_KEYS adds RETURNING *, column names only those.
            try (PreparedStatement insert = conn.prepareStatement(INSERT, new String[] {"id", "source", "created_at"})) {
                insert.setString(1, "orm/returning");
                insert.setString(2, "item.added");
                insert.setString(3, "{\"item\": 4}");
                insert.executeUpdate();
                try (ResultSet event = insert.getGeneratedKeys()) {
                    event.next();
                    if (event.getTimestamp("created_at") == null || !event.getString("source").equals("/")) {
                        throw new IllegalStateException("not read back");
                    }
                    return event.getLong("id");
                }
            }
        }));

        Scenes.scene("null", () -> committed(() -> {
            try (PreparedStatement insert = conn.prepareStatement(
                    "INSERT INTO outbox (id, topic, type, payload, source, headers, dedup_key, deliver_at, created_at)"
                        + " VALUES (?, ?, ?, ?::json, ?, ?::jsonb, ?, ?, ?)", Statement.RETURN_GENERATED_KEYS)) {
                insert.setNull(1, Types.BIGINT);
                insert.setString(2, "orm/null");
                insert.setString(3, "item.added");
                for (int column = 4; column <= 7; column++) {
                    insert.setNull(column, Types.VARCHAR);
                }
                insert.setNull(8, Types.TIMESTAMP_WITH_TIMEZONE);
                insert.setNull(9, Types.TIMESTAMP_WITH_TIMEZONE);
                insert.executeUpdate();
                return keys(insert).get(0);
            }
        }));

        Scenes.scene("default", () -> committed(() -> {
            try (Statement insert = conn.createStatement()) {
                insert.executeUpdate(
                    "INSERT INTO outbox (id, topic, type, payload, source, headers, dedup_key, deliver_at, created_at) VALUES"
                        + " (DEFAULT, 'orm/default', 'item.added', DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT)",
                    Statement.RETURN_GENERATED_KEYS);
                return keys(insert).get(0);
            }
        }));

        Scenes.scene("json", () -> committed(() -> {
            try (PreparedStatement insert = conn.prepareStatement(
                    "INSERT INTO outbox (topic, type, payload, headers) VALUES (?, ?, ?, ?)", Statement.RETURN_GENERATED_KEYS)) {
                insert.setString(1, "orm/json");
                insert.setString(2, "item.added");
                // Types.OTHER is JSON without a cast.
                insert.setObject(3, "{\"item\": {\"name\": \"Lämpchen 灯\", \"tags\": [\"new\", 2, null], \"price\": 9.5}}", Types.OTHER);
                insert.setObject(4, "{\"traceparent\": \"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\"}", Types.OTHER);
                insert.executeUpdate();
                return keys(insert).get(0);
            }
        }));

        Scenes.scene("retry", () -> List.of(committed(Main::pay), committed(Main::pay)));

        Scenes.scene("clone", () -> {
            // The first transaction loads the row, the second saves what it loaded, id and time included.
            List<Object> row = new ArrayList<>();
            committed(() -> {
                append("orm/clone", "item.added", "{\"item\": 8}");
                try (Statement select = conn.createStatement();
                     ResultSet event = select.executeQuery("SELECT * FROM outbox WHERE topic = 'orm/clone'")) {
                    event.next();
                    for (int column = 1; column <= 9; column++) {
                        row.add(event.getObject(column));
                    }
                    return null;
                }
            });
            return committed(() -> {
                try (PreparedStatement insert = conn.prepareStatement(
                        "INSERT INTO outbox (id, topic, type, payload, source, headers, dedup_key, deliver_at, created_at)"
                            + " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", Statement.RETURN_GENERATED_KEYS)) {
                    for (int column = 1; column <= 9; column++) {
                        insert.setObject(column, row.get(column - 1));
                    }
                    insert.executeUpdate();
                    return List.of(row.get(0), keys(insert).get(0));
                }
            });
        });

        Scenes.scene("read", () -> committed(() -> {
            append("orm/read", "item.added", "{\"item\": 9}");
            try (Statement select = conn.createStatement();
                 ResultSet event = select.executeQuery("SELECT id FROM outbox WHERE topic = 'orm/read'")) {
                event.next();
                return event.getLong("id");
            }
        }));

        conn.close();
    }

    static long append(String topic, String type, String payload) throws SQLException {
        try (PreparedStatement insert = conn.prepareStatement(INSERT, Statement.RETURN_GENERATED_KEYS)) {
            insert.setString(1, topic);
            insert.setString(2, type);
            insert.setString(3, payload);
            insert.executeUpdate();
            return keys(insert).get(0);
        }
    }

    static long pay() throws SQLException {
        try (PreparedStatement insert = conn.prepareStatement(
                "INSERT INTO outbox (topic, type, payload, dedup_key) VALUES (?, ?, ?::json, ?)", Statement.RETURN_GENERATED_KEYS)) {
            insert.setString(1, "orm/retry");
            insert.setString(2, "item.paid");
            insert.setString(3, "{\"item\": 7}");
            insert.setString(4, "item-7-paid");
            insert.executeUpdate();
            return keys(insert).get(0);
        }
    }

    static List<Long> keys(Statement statement) throws SQLException {
        List<Long> ids = new ArrayList<>();
        try (ResultSet keys = statement.getGeneratedKeys()) {
            while (keys.next()) {
                ids.add(keys.getLong("id"));
            }
        }
        return ids;
    }

    static Object committed(Scenes.Work work) throws Exception {
        try {
            Object result = work.run();
            conn.commit();
            return result;
        } catch (Exception e) {
            conn.rollback();
            throw e;
        }
    }
}
