// What Hibernate's schema tools do to a database with an outbox: java -cp … Tools jdbc:postgresql://…
import org.hibernate.tool.hbm2ddl.SchemaUpdate;
import org.hibernate.tool.hbm2ddl.SchemaValidator;

public class Tools {
    public static void main(String[] args) {
        Scenes.scene("hibernate.hbm2ddl.auto=update", () -> {
            SchemaUpdate update = new SchemaUpdate(Main.configuration(args[0]));
            update.execute(false, true); // it takes the view for the entity's table
            if (!update.getExceptions().isEmpty()) {
                throw new IllegalStateException(update.getExceptions().toString());
            }
            return null;
        });

        Scenes.scene("hibernate.hbm2ddl.auto=validate", () -> {
            new SchemaValidator(Main.configuration(args[0])).validate();
            return null;
        });
    }
}
