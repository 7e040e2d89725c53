<?php
// The models and the connection; Laravel does the latter itself.
declare(strict_types=1);

require '/usr/share/php/Illuminate/Database/autoload.php';
require __DIR__ . '/../scenes.php';

use Illuminate\Database\Capsule\Manager as DB;
use Illuminate\Database\Eloquent\Model;

class Event extends Model
{
    protected $table = 'outbox';
    protected $guarded = [];
    protected $casts = ['payload' => 'array', 'headers' => 'array'];
    public $timestamps = false; // created_at is the outbox's, and there is no updated_at
}

class Item extends Model
{
    protected $table = 'item';
    protected $guarded = [];
    public $timestamps = false;
}

$url = address();
$capsule = new DB();
$capsule->addConnection([
    'driver' => 'pgsql', 'host' => $url['host'], 'port' => $url['port'], 'database' => ltrim($url['path'], '/'),
    'username' => $url['user'], 'password' => rawurldecode($url['pass']), 'charset' => 'utf8', 'schema' => 'public',
]);
$capsule->setAsGlobal();
$capsule->bootEloquent();
