# Runs programs one after another, each in a process of its own that has the packages which all of
# them use: ruby several.rb "require 'sequel'" main postgres://… tools postgres://…, in the folder of a stack.
require "json"

eval ARGV.shift
ARGV.each_slice(2).to_a.each do |program, address|
  $stdout.puts JSON.generate(program: program)
  $stdout.flush
  child = fork do
    ARGV.replace([address])
    load "./#{program}.rb"
  end
  Process.wait(child)
  exit 1 unless $?.success?
end
