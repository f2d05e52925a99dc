// Answers every request that net/http accepts with 204, on the Unix socket that it is given. A header
// repeats its method and target.
package main

import (
	"io"
	"log"
	"net"
	"net/http"
	"os"
)

func main() {
	listener, err := net.Listen("unix", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	server := http.Server{
		Handler: http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
			if _, err := io.Copy(io.Discard, request.Body); err != nil {
				panic(http.ErrAbortHandler)
			}
			answer.Header().Set("Seen", request.Method+" "+request.RequestURI)
			answer.WriteHeader(http.StatusNoContent)
		}),
		ErrorLog: log.New(io.Discard, "", 0),
	}
	log.Fatal(server.Serve(listener))
}
