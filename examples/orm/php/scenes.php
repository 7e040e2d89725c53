<?php
// Runs the scenes of a program and prints one line of JSON for each.
declare(strict_types=1);

function stack(string $name, string $version): void
{
    echo json_encode(['stack' => $name, 'version' => ltrim($version, 'v')]), "\n";
}

/** $work returns the id of its event, several as an array, or null. */
function scene(string $name, callable $work): void
{
    try {
        echo json_encode(['scene' => $name, 'ok' => true, 'id' => $work()]), "\n";
    } catch (Throwable $e) {
        fwrite(STDERR, "$e\n");
        echo json_encode(['scene' => $name, 'ok' => false, 'error' => get_class($e) . ': ' . $e->getMessage()]), "\n";
    }
}

function skip(string $name, string $reason): void
{
    echo json_encode(['scene' => $name, 'skip' => $reason]), "\n";
}

/** The parts of the database's address: host, port, user, pass, path. */
function address(): array
{
    global $argv;
    return parse_url($argv[1]) + ['pass' => '', 'port' => 5432];
}

/** The version of a library that doesn't say it itself. */
function debian(string $package): string
{
    return preg_replace('/^\d+:|[+-].*/', '', exec("dpkg-query -Wf '\${Version}' $package"));
}
