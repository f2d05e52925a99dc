require "socket"
require "webrick"

server = WEBrick::HTTPServer.new(DoNotListen: true, AccessLog: [])
server.mount_proc("/metrics") do |_request, response|
  response["Content-Type"] = "text/plain; version=0.0.4"
  response.body = "# TYPE jobs_total counter\njobs_total 3\n"
end
server.listeners << UNIXServer.new("/run/aegis/services/webrick.sock")
server.start
