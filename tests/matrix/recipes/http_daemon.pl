use strict;
use warnings;
use HTTP::Daemon;
use HTTP::Response;
use IO::Socket::UNIX;

# HTTP::Daemon is made for TCP: these two replace what it asks of a TCP socket.
package Server {
    our @ISA = ("IO::Socket::UNIX");
    sub url { "http://unix/" }
    sub product_tokens { "metrics" }
    sub daemon { ${ *{ $_[0] } }{httpd_daemon} }
}
package Connection {
    our @ISA = ("HTTP::Daemon::ClientConn", "IO::Socket::UNIX");
}

my $server = Server->new(Local => "/run/aegis/services/http-daemon.sock", Listen => 5) or die $!;
while (my $connection = $server->accept("Connection")) {
    ${*$connection}{httpd_daemon} = $server;
    while (my $request = $connection->get_request) {
        my $body = "# TYPE jobs_total counter\njobs_total 3\n";
        $connection->send_response(HTTP::Response->new(200, "OK", ["Content-Type" => "text/plain; version=0.0.4"], $body));
    }
    $connection->close;
}
