metrics = lambda do |_env|
  [200, { "content-type" => "text/plain; version=0.0.4" }, ["# TYPE jobs_total counter\n", "jobs_total 3\n"]]
end

map("/metrics") { run metrics }
