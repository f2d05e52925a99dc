sub {
    my $body = "# TYPE jobs_total counter\njobs_total 3\n";
    return [200, ["Content-Type" => "text/plain; version=0.0.4"], [$body]];
};
