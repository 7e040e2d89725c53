# Runs the scenes of a program and prints one line of JSON for each.
require "json"

$stdout.sync = true

def stack(name, version)
  puts JSON.generate(stack: name, version: version.to_s)
end

# The block returns the ids of its events.
def scene(name)
  puts JSON.generate(scene: name, ok: true, id: yield)
rescue StandardError => e
  warn e.full_message
  puts JSON.generate(scene: name, ok: false, error: "#{e.class}: #{e.message}")
end

def skip(name, reason)
  puts JSON.generate(scene: name, skip: reason)
end
