// Append events with EclipseLink (JPA): java -cp classes:eclipselink.jar:… Main jdbc:postgresql://…
import java.util.List;
import java.util.Map;
import java.util.function.Function;
import java.util.stream.Stream;
import javax.persistence.EntityManager;
import javax.persistence.EntityManagerFactory;
import javax.persistence.EntityTransaction;
import javax.persistence.Persistence;

public class Main {
    static EntityManagerFactory factory;

    public static void main(String[] args) {
        factory = Persistence.createEntityManagerFactory("shop", Map.of("javax.persistence.jdbc.url", args[0]));
        Scenes.stack("EclipseLink", org.eclipse.persistence.Version.getVersion());

        Scenes.scene("one", () -> transaction(em -> persist(em, new Event("orm/one", "item.added", "{\"item\": 1}"))));

        Scenes.scene("many", () -> transaction(em -> Stream.of(1, 2, 3)
            .map(n -> persist(em, new Event("orm/many", "item.added", "{\"item\": " + n + "}"))).toList()));

        Scenes.scene("transaction", () -> transaction(em -> {
            Item item = new Item("lamp");
            em.persist(item);
            em.flush();
            return persist(em, new Event("orm/transaction", "item.added", "{\"item\": " + item.id + "}"));
        }));

        Scenes.scene("rollback", () -> {
            EntityManager em = factory.createEntityManager();
            em.getTransaction().begin();
            em.persist(new Item("ghost"));
            em.persist(new Event("orm/rollback", "item.added", null));
            em.flush();
            em.getTransaction().rollback();
            em.close();
            return null;
        });

        Scenes.scene("returning", () -> transaction(em -> {
            Event event = new Event("orm/returning", "item.added", "{\"item\": 4}");
            persist(em, event);
            em.refresh(event); // possible until the commit
            if (event.createdAt == null || !event.source.equals("/")) {
                throw new IllegalStateException("not read back");
            }
            return event.id;
        }));

        // JPA sends NULL for every property that is not set.
        Scenes.scene("null", () -> transaction(em -> persist(em, new Event("orm/null", "item.added", null))));

        Scenes.skip("default", "JPA has no word for DEFAULT");

        Scenes.scene("json", () -> transaction(em -> {
            Event event = new Event("orm/json", "item.added",
                "{\"item\": {\"name\": \"Lämpchen 灯\", \"tags\": [\"new\", 2, null], \"price\": 9.5}}");
            event.headers = "{\"traceparent\": \"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\"}";
            return persist(em, event);
        }));

        Scenes.scene("retry", () -> List.of(transaction(Main::pay), transaction(Main::pay)));

        Scenes.scene("clone", () -> {
            Event event = transaction(em -> {
                em.persist(new Event("orm/clone", "item.added", "{\"item\": 8}"));
                em.flush();
                em.clear();
                return em.createQuery("SELECT e FROM Event e WHERE e.topic = 'orm/clone'", Event.class).getSingleResult();
            });
            Object first = event.id;
            event.id = null; // detached: persisted as a new row
            return List.of(first, transaction(em -> persist(em, event)));
        });

        Scenes.scene("read", () -> transaction(em -> {
            em.persist(new Event("orm/read", "item.added", "{\"item\": 9}"));
            em.flush();
            em.clear();
            return em.createQuery("SELECT e FROM Event e WHERE e.topic = 'orm/read'", Event.class).getSingleResult().id;
        }));

        factory.close();
    }

    static Object pay(EntityManager em) {
        Event event = new Event("orm/retry", "item.paid", "{\"item\": 7}");
        event.dedupKey = "item-7-paid";
        return persist(em, event);
    }

    static Object persist(EntityManager em, Event event) {
        em.persist(event);
        em.flush(); // the id is there after the INSERT, which EclipseLink puts off
        return event.id;
    }

    static <T> T transaction(Function<EntityManager, T> work) {
        EntityManager em = factory.createEntityManager();
        EntityTransaction transaction = em.getTransaction();
        transaction.begin();
        try {
            T result = work.apply(em);
            transaction.commit();
            return result;
        } catch (RuntimeException e) {
            transaction.rollback();
            throw e;
        } finally {
            em.close();
        }
    }
}
