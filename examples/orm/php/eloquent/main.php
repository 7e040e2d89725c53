<?php
// Append events with Eloquent (Laravel): php main.php postgres://…
declare(strict_types=1);

require __DIR__ . '/bootstrap.php';

use Illuminate\Database\Capsule\Manager as DB;

stack('Eloquent', debian("php-illuminate-database"));

scene('one', fn () => Event::create(['topic' => 'orm/one', 'type' => 'item.added', 'payload' => ['item' => 1]])->id);

scene('many', function () {
    // insert is one statement, which returns no ids and casts nothing.
    Event::insert(array_map(
        fn ($n) => ['topic' => 'orm/many', 'type' => 'item.added', 'payload' => json_encode(['item' => $n])],
        [1, 2, 3],
    ));
});

scene('transaction', fn () => DB::connection()->transaction(function () {
    $item = Item::create(['name' => 'lamp']);
    return Event::create(['topic' => 'orm/transaction', 'type' => 'item.added', 'payload' => ['item' => $item->id]])->id;
}));

scene('rollback', function () {
    DB::connection()->beginTransaction();
    Item::create(['name' => 'ghost']);
    Event::create(['topic' => 'orm/rollback', 'type' => 'item.added']);
    DB::connection()->rollBack();
});

scene('returning', fn () => DB::connection()->transaction(function () {
    $event = Event::create(['topic' => 'orm/returning', 'type' => 'item.added', 'payload' => ['item' => 4]]);
    $event->refresh(); // the id comes with the INSERT, the rest can be read until the commit
    if ($event->created_at === null || $event->source !== '/') {
        throw new RuntimeException('not read back');
    }
    return $event->id;
}));

scene('null', fn () => Event::create([
    'topic' => 'orm/null', 'type' => 'item.added', 'payload' => null, 'source' => null, 'headers' => null,
    'dedup_key' => null, 'deliver_at' => null, 'created_at' => null,
])->id);

scene('default', function () {
    // An attribute that is not set is left out of the INSERT.
    return Event::create(['topic' => 'orm/default', 'type' => 'item.added'])->id;
});

scene('json', fn () => Event::create([
    'topic' => 'orm/json',
    'type' => 'item.added',
    'payload' => ['item' => ['name' => 'Lämpchen 灯', 'tags' => ['new', 2, null], 'price' => 9.5]],
    'headers' => ['traceparent' => '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'],
])->id);

scene('retry', function () {
    $pay = fn () => DB::connection()->transaction(fn () => Event::create([
        'topic' => 'orm/retry', 'type' => 'item.paid', 'payload' => ['item' => 7], 'dedup_key' => 'item-7-paid',
    ])->id);
    return [$pay(), $pay()];
});

scene('clone', function () {
    $event = DB::connection()->transaction(function () {
        Event::create(['topic' => 'orm/clone', 'type' => 'item.added', 'payload' => ['item' => 8]]);
        return Event::where('topic', 'orm/clone')->firstOrFail();
    });
    $copy = $event->replicate();
    $copy->save();
    return [$event->id, $copy->id];
});

scene('read', fn () => DB::connection()->transaction(function () {
    Event::create(['topic' => 'orm/read', 'type' => 'item.added', 'payload' => ['item' => 9]]);
    return Event::where('topic', 'orm/read')->firstOrFail()->id;
}));
