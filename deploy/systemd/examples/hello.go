// A service whose metrics are served on a socket that systemd listens on (descriptor 3).
package main

import (
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"sync/atomic"
)

func main() {
	listener, err := net.FileListener(os.NewFile(3, "metrics"))
	if err != nil {
		log.Fatalf("start it by its .socket unit: %v", err)
	}
	var scrapes atomic.Int64
	// With client_golang, this is promhttp.Handler().
	http.HandleFunc("/metrics", func(answer http.ResponseWriter, _ *http.Request) {
		answer.Header().Set("Content-Type", "text/plain; version=0.0.4")
		fmt.Fprintf(answer, "# TYPE hello_scrapes_total counter\nhello_scrapes_total %d\n", scrapes.Add(1))
	})
	log.Fatal(http.Serve(listener, nil))
}
