package Scenes;

# Runs the scenes of a program and prints one line of JSON for each.
use strict;
use warnings;
use Exporter 'import';
use JSON::PP;

our @EXPORT = qw(stack scene skip);
$| = 1;

sub line { print JSON::PP->new->canonical->encode({@_}), "\n" }

sub stack {
    my ($name, $version) = @_;
    line(stack => $name, version => "$version");
}

# The code returns the ids of its events.
sub scene {
    my ($name, $code) = @_;
    my $id = eval { [$code->()] };
    if ($id) {
        line(scene => $name, ok => JSON::PP::true, id => @$id == 1 ? $id->[0] : $id);
    } else {
        warn $@;
        line(scene => $name, ok => JSON::PP::false, error => "$@");
    }
}

sub skip {
    my ($name, $reason) = @_;
    line(scene => $name, skip => $reason);
}

1;
