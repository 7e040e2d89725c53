import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;

/** Server-Sent Events by the standard library of Java alone. */
public class Minimal {
    public static void main(String[] args) throws Exception {
        var client = HttpClient.newHttpClient();
        var last = "";
        var pause = 1000L;
        while (true) {
            var request = HttpRequest.newBuilder(URI.create(args[0])).header("Accept", "text/event-stream");
            if (!last.isEmpty()) request.header("Last-Event-ID", last);
            try {
                var response = client.send(request.build(), BodyHandlers.ofInputStream());
                if (response.statusCode() == 204) return;
                var lines = new BufferedReader(new InputStreamReader(response.body(), StandardCharsets.UTF_8));
                String id = null, type = "message";
                var data = new StringBuilder();
                for (String line; (line = lines.readLine()) != null; ) {
                    if (line.isEmpty()) {
                        if (id != null) last = id;
                        if (!data.isEmpty()) print(last, type, data.substring(0, data.length() - 1));
                        id = null;
                        type = "message";
                        data.setLength(0);
                        continue;
                    }
                    int colon = line.indexOf(':');
                    if (colon < 0) continue;
                    var value = line.substring(line.startsWith(": ", colon) ? colon + 2 : colon + 1);
                    switch (line.substring(0, colon)) {
                        case "id" -> id = value;
                        case "event" -> type = value;
                        case "data" -> data.append(value).append('\n');
                        case "retry" -> pause = Long.parseLong(value);
                        default -> { }
                    }
                }
            } catch (IOException e) {
                System.err.println(e);
            }
            Thread.sleep(pause);
        }
    }

    private static void print(String id, String type, String data) {
        System.out.println("{\"id\":" + quote(id) + ",\"type\":" + quote(type) + ",\"data\":" + quote(data) + "}");
    }

    private static String quote(String text) {
        var quoted = new StringBuilder("\"");
        for (char c : text.toCharArray()) {
            if (c < ' ' || c == '"' || c == '\\' || c > '~') quoted.append(String.format("\\u%04x", (int) c));
            else quoted.append(c);
        }
        return quoted.append('"').toString();
    }
}
