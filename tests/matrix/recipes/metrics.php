<?php
header("Content-Type: text/plain; version=0.0.4");
echo "# TYPE jobs_total counter\n";
echo "jobs_total 3\n";
