<?php
// Append events with PDO: php append.php postgres://…
declare(strict_types=1);

$url = parse_url($argv[1]);
$db = new PDO(
    sprintf('pgsql:host=%s;port=%d;dbname=%s', $url['host'], $url['port'] ?? 5432, ltrim($url['path'], '/')),
    $url['user'],
    rawurldecode($url['pass'] ?? ''),
    [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION],
);

// The order and its event are committed together.
$db->beginTransaction();
$db->exec("INSERT INTO orders (id, customer, state) VALUES (1, 42, 'placed')");
$event = $db->prepare('INSERT INTO outbox (topic, type, payload) VALUES (?, ?, ?) RETURNING id');
$event->execute(['user/42/orders', 'order.placed', json_encode(['order' => 1])]);
echo 'event ', $event->fetchColumn(), "\n";
$db->commit();

// What is rolled back leaves no event.
$db->beginTransaction();
$db->exec("INSERT INTO orders (id, customer, state) VALUES (2, 42, 'placed')");
$db->exec("INSERT INTO outbox (topic, type) VALUES ('user/42/orders', 'order.placed')");
$db->rollBack();

// A retry with the same key stores nothing, and gets the first one's id.
$paid = "INSERT INTO outbox (topic, type, dedup_key) VALUES ('user/42/orders', 'order.paid', 'payment-1') RETURNING id";
if ($db->query($paid)->fetchColumn() !== $db->query($paid)->fetchColumn()) {
    throw new RuntimeException('two ids');
}

// To be delivered later.
$db->prepare("SELECT outcrier.append('user/42/orders', 'order.reminded', dedup_key => 'reminder-1', deliver_at => ?)")
    ->execute([(new DateTimeImmutable('+1 day'))->format(DATE_RFC3339_EXTENDED)]);

// What is not allowed fails the transaction, and says what is.
try {
    $db->query("SELECT outcrier.append('user//42', 'order.placed')");
} catch (PDOException $e) {
    // PDO has no field for the column's name; the message says what is allowed.
    [$sqlstate, , $message] = $e->errorInfo;
    echo "$sqlstate $message\n";
}
