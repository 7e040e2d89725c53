# Append events with DBIx::Class: perl -I.. main.pl postgres://…
use strict;
use warnings;
use utf8;

package Shop::Schema::Result::Event {
    use base 'DBIx::Class::Core';
    use JSON::PP;

    __PACKAGE__->table('outbox');
    __PACKAGE__->add_columns(
        id         => { data_type => 'bigint', is_auto_increment => 1 },
        topic      => { data_type => 'text' },
        type       => { data_type => 'text' },
        payload    => { data_type => 'json', is_nullable => 1 },
        source     => { data_type => 'text', is_nullable => 1, retrieve_on_insert => 1 },
        headers    => { data_type => 'jsonb', is_nullable => 1 },
        dedup_key  => { data_type => 'text', is_nullable => 1 },
        deliver_at => { data_type => 'timestamptz', is_nullable => 1 },
        created_at => { data_type => 'timestamptz', is_nullable => 1, retrieve_on_insert => 1 },
    );
    __PACKAGE__->set_primary_key('id');

    my $json = JSON::PP->new->canonical->allow_nonref;
    __PACKAGE__->inflate_column($_, { inflate => sub { $json->decode(shift) }, deflate => sub { $json->encode(shift) } })
        for qw(payload headers);
}

package Shop::Schema::Result::Item {
    use base 'DBIx::Class::Core';

    __PACKAGE__->table('item');
    __PACKAGE__->add_columns(
        id   => { data_type => 'bigint', is_auto_increment => 1 },
        name => { data_type => 'text' },
    );
    __PACKAGE__->set_primary_key('id');
}

package Shop::Schema {
    use base 'DBIx::Class::Schema';

    __PACKAGE__->register_class(Event => 'Shop::Schema::Result::Event');
    __PACKAGE__->register_class(Item => 'Shop::Schema::Result::Item');
}

package main;

use Scenes;

my ($user, $password, $host, $port, $name) = $ARGV[0] =~ m{^postgres(?:ql)?://([^:@]+)(?::([^@]*))?@([^:/]+)(?::(\d+))?/([^?]+)};
my $schema = Shop::Schema->connect("dbi:Pg:dbname=$name;host=$host;port=$port", $user, $password, { pg_enable_utf8 => 1 });
my $events = $schema->resultset('Event');
my $items = $schema->resultset('Item');

stack 'DBIx::Class' => DBIx::Class->VERSION;

scene one => sub {
    $events->create({ topic => 'orm/one', type => 'item.added', payload => { item => 1 } })->id;
};

scene many => sub {
    # In list context, populate creates row by row and returns the rows.
    my @rows = map { { topic => 'orm/many', type => 'item.added', payload => { item => $_ } } } 1 .. 3;
    map { $_->id } $events->populate(\@rows);
};

scene transaction => sub {
    $schema->txn_do(sub {
        my $item = $items->create({ name => 'lamp' });
        $events->create({ topic => 'orm/transaction', type => 'item.added', payload => { item => $item->id } })->id;
    });
};

scene rollback => sub {
    $schema->txn_begin;
    $items->create({ name => 'ghost' });
    $events->create({ topic => 'orm/rollback', type => 'item.added' });
    $schema->txn_rollback;
    undef;
};

scene returning => sub {
    # The INSERT returns the columns with retrieve_on_insert too.
    my $event = $events->create({ topic => 'orm/returning', type => 'item.added', payload => { item => 4 } });
    die "not read back\n" unless $event->created_at && $event->source eq '/';
    $event->id;
};

scene null => sub {
    $events->create({
        topic => 'orm/null', type => 'item.added', payload => undef, source => undef, headers => undef,
        dedup_key => undef, deliver_at => undef, created_at => undef,
    })->id;
};

scene default => sub {
    # A column that is not set is left out; a reference to a string is SQL as it stands.
    $events->create({ topic => 'orm/default', type => 'item.added', source => \'DEFAULT', created_at => \'DEFAULT' })->id;
};

scene json => sub {
    $events->create({
        topic   => 'orm/json',
        type    => 'item.added',
        payload => { item => { name => 'Lämpchen 灯', tags => ['new', 2, undef], price => 9.5 } },
        headers => { traceparent => '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' },
    })->id;
};

scene retry => sub {
    my $pay = sub {
        $schema->txn_do(sub {
            $events->create({
                topic => 'orm/retry', type => 'item.paid', payload => { item => 7 }, dedup_key => 'item-7-paid',
            })->id;
        });
    };
    ($pay->(), $pay->());
};

scene clone => sub {
    my $event = $schema->txn_do(sub {
        $events->create({ topic => 'orm/clone', type => 'item.added', payload => { item => 8 } });
        $events->find({ topic => 'orm/clone' });
    });
    my $copy = $event->copy;
    ($event->id, $copy->id);
};

scene read => sub {
    $schema->txn_do(sub {
        $events->create({ topic => 'orm/read', type => 'item.added', payload => { item => 9 } });
        $events->find({ topic => 'orm/read' })->id;
    });
};
