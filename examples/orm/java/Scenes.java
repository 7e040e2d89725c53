import java.util.Arrays;
import java.util.Collection;
import java.util.stream.Collectors;

/** Runs the scenes of a program and prints one line of JSON for each. */
class Scenes {
    interface Work {
        /** Returns the id of its event, several as a collection, or null. */
        Object run() throws Exception;
    }

    static void stack(String name, String version) {
        System.out.printf("{\"stack\":%s,\"version\":%s}%n", quote(name), quote(version));
    }

    static void scene(String name, Work work) {
        try {
            Object id = work.run();
            if (id instanceof Collection<?> ids) {
                id = ids.stream().map(String::valueOf).collect(Collectors.joining(",", "[", "]"));
            }
            System.out.printf("{\"scene\":%s,\"ok\":true,\"id\":%s}%n", quote(name), id);
        } catch (Exception e) {
            e.printStackTrace();
            System.out.printf("{\"scene\":%s,\"ok\":false,\"error\":%s}%n", quote(name), quote(e.toString()));
        }
    }

    static void skip(String name, String reason) {
        System.out.printf("{\"scene\":%s,\"skip\":%s}%n", quote(name), quote(reason));
    }

    private static String quote(String text) {
        return Arrays.stream(text.split("")).map(c -> c.isEmpty() || c.charAt(0) < ' ' ? " " : c)
            .map(c -> c.equals("\"") || c.equals("\\") ? "\\" + c : c).collect(Collectors.joining("", "\"", "\""));
    }
}
