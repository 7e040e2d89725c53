# Varnish in front of Outcrier, any number of nodes behind. What ends TLS stands before
# it: hitch, or HAProxy. Start the nodes with
#
#   OUTCRIER_TRUST_PROXY=127.0.0.1
#
# (the address that this Varnish comes from), so that they know their clients, and
# Varnish with
#
#   -p http_req_hdr_len=32k -p http_req_size=128k -p workspace_client=256k -p workspace_backend=256k
#
# for tokens and many topics (a header longer than 8k is refused by default), and with
# -p thread_pool_max=20000 for 20,000 streams: each holds two threads, of two pools.
vcl 4.1;

import directors;

probe ready {
    .url = "/readyz";
    .interval = 1s;
    .timeout = 2s;
    .window = 1;
    .threshold = 1;
    # Ready until found not to be.
    .initial = 1;
}

backend node1 {
    .host = "127.0.0.1";
    .port = "8080";
    .probe = ready;
    .connect_timeout = 2s;
    # Longer than a long poll (25 s), and than a heartbeat (15 s), or a quiet stream is cut.
    .first_byte_timeout = 60s;
    .between_bytes_timeout = 60s;
}

backend node2 {
    .host = "127.0.0.1";
    .port = "8081";
    .probe = ready;
    .connect_timeout = 2s;
    .first_byte_timeout = 60s;
    .between_bytes_timeout = 60s;
}

sub vcl_init {
    new outcrier = directors.round_robin();
    outcrier.add_backend(node1);
    outcrier.add_backend(node2);
}

sub vcl_recv {
    set req.backend_hint = outcrier.backend();
    # In place of what the client says of itself. Where another proxy comes before this
    # one, set it there, and not here.
    set req.http.X-Forwarded-For = client.ip;
    # A WebSocket is no answer: bytes go both ways.
    if (req.http.Upgrade ~ "(?i)^websocket$") {
        return (pipe);
    }
    # Nothing is kept: an answer goes on as it comes.
    return (pass);
}

sub vcl_pipe {
    set bereq.http.Upgrade = req.http.Upgrade;
    # "close", as Varnish has it by default: where the node answers without a WebSocket, the
    # client's next request would otherwise reach it past vcl_recv, with an X-Forwarded-For of its
    # own.
    set bereq.http.Connection = "Upgrade, close";
}

sub vcl_backend_response {
    # The other node, when one drains.
    if (beresp.status == 503 && bereq.method == "GET" && bereq.retries == 0) {
        return (retry);
    }
}

sub vcl_backend_error {
    # The other node, when one can't be reached: the next in the round, which others
    # turn too, so that it takes more than one try.
    if (bereq.method == "GET" && bereq.retries < 4) {
        return (retry);
    }
    # While no node is there, this is what brings a browser back: any other status than
    # 200 ends its EventSource for good. An EventSource asks for nothing else, and by GET. A
    # write that failed has to look so.
    if (bereq.method == "GET" && bereq.http.Accept ~ "(?i)text/event-stream") {
        set beresp.status = 200;
        set beresp.http.Content-Type = "text/event-stream; charset=utf-8";
        set beresp.http.Cache-Control = "no-store, no-transform";
        synthetic("""event: outcrier.goodbye
retry: 3000
data: {"reason":"unavailable"}

""");
        return (deliver);
    }
}

sub vcl_synth {
    # The same, when a node breaks off after its header and before Varnish has passed that on:
    # Varnish does not ask vcl_backend_error then.
    if (req.method == "GET" && req.http.Accept ~ "(?i)text/event-stream" && resp.status == 503) {
        set resp.status = 200;
        set resp.http.Content-Type = "text/event-stream; charset=utf-8";
        set resp.http.Cache-Control = "no-store, no-transform";
        synthetic("""event: outcrier.goodbye
retry: 3000
data: {"reason":"unavailable"}

""");
        return (deliver);
    }
}
