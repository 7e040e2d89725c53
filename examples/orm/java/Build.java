import java.util.Arrays;
import java.util.List;
import javax.tools.ToolProvider;

/** Compiles several programs in one JVM: java Build.java arguments of javac -- arguments of javac … */
class Build {
    public static void main(String[] args) {
        List<String> rest = Arrays.asList(args);
        while (!rest.isEmpty()) {
            int end = rest.contains("--") ? rest.indexOf("--") : rest.size();
            String[] compiled = rest.subList(0, end).toArray(String[]::new);
            if (ToolProvider.getSystemJavaCompiler().run(null, null, null, compiled) != 0) {
                System.exit(1);
            }
            rest = rest.subList(Math.min(end + 1, rest.size()), rest.size());
        }
    }
}
