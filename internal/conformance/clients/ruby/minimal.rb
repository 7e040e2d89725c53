# Server-Sent Events by Ruby's standard library alone.
require "json"
require "net/http"

uri = URI(ARGV[0])
last = nil
pause = 1.0
loop do
  request = Net::HTTP::Get.new(uri, "Accept" => "text/event-stream")
  request["Last-Event-ID"] = last if last
  Net::HTTP.start(uri.host, uri.port, read_timeout: 45, max_retries: 0) do |http|
    http.request(request) do |response|
      exit if response.code == "204"
      buffer = +""
      response.read_body do |piece|
        buffer << piece
        while (block = buffer.slice!(/\A.*?\n\n/m))
          type, data = "message", []
          block.force_encoding("UTF-8").each_line(chomp: true) do |line|
            name, value = line.split(/: ?/, 2)
            case name
            when "data" then data << value
            when "event" then type = value
            when "id" then last = value
            when "retry" then pause = value.to_i / 1000.0
            end
          end
          next if data.empty?
          JSON.parse(data.join("\n"))
          $stdout.puts JSON.generate("id" => last, "type" => type, "data" => data.join("\n"))
          $stdout.flush
        end
      end
    end
  end
rescue SystemCallError, IOError, Timeout::Error, Net::HTTPBadResponse => e
  warn e.message
ensure
  sleep pause
end
