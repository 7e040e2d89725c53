<?php
// What Laravel's migrations do to a database with an outbox: php tools.php postgres://…
declare(strict_types=1);

require __DIR__ . '/bootstrap.php';

use Illuminate\Database\Capsule\Manager as DB;
use Illuminate\Database\Schema\Blueprint;

scene('php artisan migrate:fresh', function () {
    // It drops the tables of the connection's schema. (--drop-views would drop the view too: leave it off.)
    DB::schema()->dropAllTables();
    DB::schema()->create('item', function (Blueprint $table) {
        $table->id();
        $table->text('name');
    });
});
