# What Rails' schema tasks do to a database with an outbox: ruby tools.rb postgres://…
require_relative "../scenes"
require_relative "models"
require "open3"
require "stringio"

ActiveRecord::Base.establish_connection(ARGV.fetch(0))

scene "rails db:schema:dump, db:schema:load (schema.rb)" do
  # The dumper reads the tables of the search_path. A view is none, so nothing has to be ignored.
  dump = StringIO.new
  ActiveRecord::SchemaDumper.dump(ActiveRecord::Base.connection, dump)
  raise dump.string if dump.string.match?(/outbox|outcrier|event/)
  ActiveRecord::Schema.verbose = false
  eval dump.string # drops and makes the application's tables, as db:schema:load does
end

scene "rails db:schema:dump (structure.sql)" do
  # In config/application.rb: without it, the dump has the view and not the schema that it stands on.
  ActiveRecord::Tasks::DatabaseTasks.structure_dump_flags = ["--exclude-table=outbox"]
  flags = ActiveRecord::Tasks::DatabaseTasks.structure_dump_flags
  dump, status = Open3.capture2e("pg_dump", "--schema-only", "--no-owner", "--no-privileges", "--schema=public", *flags, ARGV.fetch(0))
  raise dump unless status.success? && dump.include?("public.item") && !dump.match?(/outbox|outcrier/)
end

scene "rails db:truncate_all" do
  connection = ActiveRecord::Base.connection
  raise connection.tables.inspect if connection.tables.any? { |table| table.match?(/outbox|event/) }
  connection.truncate_tables(*connection.tables)
end
