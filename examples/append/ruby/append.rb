# Append events with the gem pg: ruby append.rb postgres://…
require "json"
require "pg"

conn = PG.connect(ARGV.fetch(0))

# The order and its event are committed together, when the block ends.
conn.transaction do
  conn.exec("INSERT INTO orders (id, customer, state) VALUES (1, 42, 'placed')")
  event = conn.exec_params("INSERT INTO outbox (topic, type, payload) VALUES ($1, $2, $3) RETURNING id",
                           ["user/42/orders", "order.placed", JSON.generate({ order: 1 })])
  puts "event #{event.getvalue(0, 0)}"
end

# What is rolled back leaves no event.
begin
  conn.transaction do
    conn.exec("INSERT INTO orders (id, customer, state) VALUES (2, 42, 'placed')")
    conn.exec("INSERT INTO outbox (topic, type) VALUES ('user/42/orders', 'order.placed')")
    raise "changed my mind"
  end
rescue RuntimeError => e
  raise unless e.message == "changed my mind"
end

# A retry with the same key stores nothing, and gets the first one's id.
paid = "INSERT INTO outbox (topic, type, dedup_key) VALUES ('user/42/orders', 'order.paid', 'payment-1') RETURNING id"
first, again = Array.new(2) { conn.exec(paid).getvalue(0, 0) }
raise "two ids" unless first == again

# To be delivered later.
conn.exec_params("SELECT outcrier.append('user/42/orders', 'order.reminded', dedup_key => 'reminder-1', deliver_at => $1)",
                 [(Time.now + 24 * 3600).strftime("%FT%T.%6N%:z")])

# What is not allowed fails the transaction, and says what is.
begin
  conn.exec("SELECT outcrier.append('user//42', 'order.placed')")
rescue PG::CheckViolation => e
  fields = [PG::PG_DIAG_SQLSTATE, PG::PG_DIAG_COLUMN_NAME, PG::PG_DIAG_MESSAGE_PRIMARY]
  puts fields.map { |field| e.result.error_field(field) }.join(" ")
end
