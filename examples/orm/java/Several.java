import java.util.Arrays;

/** Runs programs one after another in one JVM: java -cp … Several Main jdbc:postgresql://… Tools jdbc:postgresql://… */
class Several {
    public static void main(String[] args) throws Exception {
        for (int i = 0; i < args.length; i += 2) {
            System.out.printf("{\"program\":\"%s\"}%n", args[i]);
            Class.forName(args[i]).getMethod("main", String[].class).invoke(null, (Object) Arrays.copyOfRange(args, i + 1, i + 2));
        }
    }
}
