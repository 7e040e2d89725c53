# What Sequel's schema dumper does to a database with an outbox: ruby tools.rb postgres://…
require_relative "../scenes"
require "sequel"

DB = Sequel.connect(ARGV.fetch(0))

scene "sequel -d" do
  DB.extension :schema_dumper
  dump = DB.dump_schema_migration
  raise dump if !dump.include?(":item") || dump.match?(/outbox|event/)
end
