// Append events with JDBC: java -cp postgresql.jar Append.java jdbc:postgresql://…
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.time.OffsetDateTime;
import org.postgresql.util.PSQLException;

public class Append {
    public static void main(String[] args) throws SQLException {
        try (Connection conn = DriverManager.getConnection(args[0])) {
            conn.setAutoCommit(false);

            // The order and its event are committed together.
            try (var order = conn.prepareStatement("INSERT INTO orders (id, customer, state) VALUES (1, 42, 'placed')");
                 var event = conn.prepareStatement("INSERT INTO outbox (topic, type, payload) VALUES (?, ?, ?::json)", new String[] {"id"})) {
                order.executeUpdate();
                event.setString(1, "user/42/orders");
                event.setString(2, "order.placed");
                event.setString(3, "{\"order\": 1}");
                event.executeUpdate();
                try (var keys = event.getGeneratedKeys()) {
                    keys.next();
                    System.out.println("event " + keys.getLong("id"));
                }
            }
            conn.commit();

            // What is rolled back leaves no event.
            try (var statement = conn.createStatement()) {
                statement.executeUpdate("INSERT INTO orders (id, customer, state) VALUES (2, 42, 'placed')");
                statement.executeUpdate("INSERT INTO outbox (topic, type) VALUES ('user/42/orders', 'order.placed')");
            }
            conn.rollback();

            // A retry with the same key stores nothing, and gets the first one's id.
            if (paid(conn) != paid(conn)) {
                throw new IllegalStateException("two ids");
            }

            // To be delivered later.
            try (var later = conn.prepareStatement(
                    "SELECT outcrier.append('user/42/orders', 'order.reminded', dedup_key => 'reminder-1', deliver_at => ?)")) {
                later.setObject(1, OffsetDateTime.now().plusDays(1));
                later.execute();
            }
            conn.commit();

            // What is not allowed fails the transaction, and says what is.
            try (var statement = conn.createStatement()) {
                statement.execute("SELECT outcrier.append('user//42', 'order.placed')");
            } catch (PSQLException e) {
                var message = e.getServerErrorMessage();
                System.out.println(e.getSQLState() + " " + message.getColumn() + " " + message.getMessage());
                conn.rollback();
            }
        }
    }

    static long paid(Connection conn) throws SQLException {
        try (var statement = conn.createStatement();
             ResultSet id = statement.executeQuery(
                 "INSERT INTO outbox (topic, type, dedup_key) VALUES ('user/42/orders', 'order.paid', 'payment-1') RETURNING id")) {
            id.next();
            return id.getLong(1);
        }
    }
}
