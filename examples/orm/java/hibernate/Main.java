// Append events with Hibernate: java -cp classes:hibernate3.jar:… Main jdbc:postgresql://…
import java.util.List;
import java.util.function.Function;
import java.util.stream.Stream;
import org.hibernate.Session;
import org.hibernate.SessionFactory;
import org.hibernate.Transaction;
import org.hibernate.cfg.Configuration;

public class Main {
    static SessionFactory factory;

    public static void main(String[] args) {
        factory = configuration(args[0]).buildSessionFactory();
        Scenes.stack("Hibernate", Session.class.getPackage().getImplementationVersion().replace(".Final", ""));

        Scenes.scene("one", () -> transaction(session -> session.save(new Event("orm/one", "item.added", "{\"item\": 1}"))));

        Scenes.scene("many", () -> transaction(session -> Stream.of(1, 2, 3)
            .map(n -> session.save(new Event("orm/many", "item.added", "{\"item\": " + n + "}"))).toList()));

        Scenes.scene("transaction", () -> transaction(session -> {
            Item item = new Item("lamp");
            session.save(item);
            return session.save(new Event("orm/transaction", "item.added", "{\"item\": " + item.id + "}"));
        }));

        Scenes.scene("rollback", () -> {
            Session session = factory.openSession();
            session.beginTransaction();
            session.save(new Item("ghost"));
            session.save(new Event("orm/rollback", "item.added", null));
            session.getTransaction().rollback();
            session.close();
            return null;
        });

        Scenes.scene("returning", () -> transaction(session -> {
            Event event = new Event("orm/returning", "item.added", "{\"item\": 4}");
            session.save(event);
            session.refresh(event); // the id comes with the INSERT, the rest can be read until the commit
            if (event.createdAt == null || !event.source.equals("/")) {
                throw new IllegalStateException("not read back");
            }
            return event.id;
        }));

        // Hibernate sends NULL for every property that is not set, unless it is told not to (dynamicInsert).
        Scenes.scene("null", () -> transaction(session -> session.save(new Event("orm/null", "item.added", null))));

        Scenes.skip("default", "the same as null: an entity has no word for DEFAULT");

        Scenes.scene("json", () -> transaction(session -> {
            Event event = new Event("orm/json", "item.added",
                "{\"item\": {\"name\": \"Lämpchen 灯\", \"tags\": [\"new\", 2, null], \"price\": 9.5}}");
            event.headers = "{\"traceparent\": \"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\"}";
            return session.save(event);
        }));

        Scenes.scene("retry", () -> List.of(transaction(Main::pay), transaction(Main::pay)));

        Scenes.scene("clone", () -> {
            Event event = transaction(session -> {
                session.save(new Event("orm/clone", "item.added", "{\"item\": 8}"));
                session.clear();
                return (Event) session.createQuery("FROM Event WHERE topic = 'orm/clone'").uniqueResult();
            });
            Object first = event.id;
            event.id = null; // detached: saved as a new row
            return List.of(first, transaction(session -> session.save(event)));
        });

        Scenes.scene("read", () -> transaction(session -> {
            session.save(new Event("orm/read", "item.added", "{\"item\": 9}"));
            session.clear();
            return ((Event) session.createQuery("FROM Event WHERE topic = 'orm/read'").uniqueResult()).id;
        }));

        factory.close();
    }

    static Configuration configuration(String url) {
        return new Configuration()
            .setProperty("hibernate.connection.url", url)
            .setProperty("hibernate.dialect", "org.hibernate.dialect.PostgreSQLDialect")
            .addAnnotatedClass(Event.class)
            .addAnnotatedClass(Item.class);
    }

    static Object pay(Session session) {
        Event event = new Event("orm/retry", "item.paid", "{\"item\": 7}");
        event.dedupKey = "item-7-paid";
        return session.save(event);
    }

    static <T> T transaction(Function<Session, T> work) {
        Session session = factory.openSession();
        Transaction transaction = session.beginTransaction();
        try {
            T result = work.apply(session);
            transaction.commit();
            return result;
        } catch (RuntimeException e) {
            transaction.rollback();
            throw e;
        } finally {
            session.close();
        }
    }
}
