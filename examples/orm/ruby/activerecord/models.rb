require "active_record"

class Event < ActiveRecord::Base
  self.table_name = "outbox"
  self.primary_key = "id" # a view has none that Rails could find
  self.inheritance_column = nil # "type" is a column like any other here
end

# insert_all! looks for a unique index to go by, and a view has none: it works without a key.
class EventRow < Event
  self.primary_key = nil
end

class Item < ActiveRecord::Base
  self.table_name = "item"
end
