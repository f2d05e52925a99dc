// A minimal reverse proxy of the standard library over Unix sockets with mutual TLS. It logs nothing
// per scrape.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

func main() {
	listen := flag.String("listen", "", "address")
	sockets := flag.String("sockets", "", "directory of NAME.sock")
	pki := flag.String("pki", "", "directory of certificates")
	keepAlive := flag.Bool("keep-alive", false, "keep connections to services")
	flag.Parse()

	certificate, err := tls.LoadX509KeyPair(filepath.Join(*pki, "server.pem"), filepath.Join(*pki, "server.key"))
	if err != nil {
		log.Fatal(err)
	}
	pem, err := os.ReadFile(filepath.Join(*pki, "ca.pem"))
	if err != nil {
		log.Fatal(err)
	}
	authorities := x509.NewCertPool()
	authorities.AppendCertsFromPEM(pem)

	_, admitted, _ := net.ParseCIDR("127.0.0.0/8")
	proxy := &httputil.ReverseProxy{
		// The host of a request is the name of its service, so that connections are kept apart.
		Director: func(r *http.Request) {
			r.URL.Scheme = "http"
			r.URL.Host = strings.TrimPrefix(r.URL.Path, "/")
			r.URL.Path = "/metrics"
		},
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
				name, _, _ := strings.Cut(address, ":")
				return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(*sockets, filepath.Base(name)+".sock"))
			},
			DisableKeepAlives:   !*keepAlive,
			DisableCompression:  true,
			MaxIdleConnsPerHost: 64,
			IdleConnTimeout:     5 * time.Minute,
		},
	}
	if *keepAlive {
		proxy.BufferPool = &buffers{}
	}
	server := &http.Server{
		Addr:              *listen,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       5 * time.Minute,
		// HTTP/1.1 alone, as Prometheus is answered by the others too.
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
		TLSConfig: &tls.Config{
			Certificates:           []tls.Certificate{certificate},
			ClientAuth:             tls.RequireAndVerifyClientCert,
			ClientCAs:              authorities,
			MinVersion:             tls.VersionTLS13,
			SessionTicketsDisabled: true,
		},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			host, _, _ := net.SplitHostPort(r.RemoteAddr)
			if !admitted.Contains(net.ParseIP(host)) || r.TLS.PeerCertificates[0].Subject.CommonName != "prometheus" {
				http.Error(w, "forbidden", http.StatusForbidden)
				return
			}
			proxy.ServeHTTP(w, r)
		}),
	}
	log.Fatal(server.ListenAndServeTLS("", ""))
}

// Buffers to copy answers through, kept between scrapes.
type buffers struct{ kept sync.Pool }

func (b *buffers) Get() []byte {
	if buffer, ok := b.kept.Get().(*[]byte); ok {
		return *buffer
	}
	return make([]byte, 32<<10)
}

func (b *buffers) Put(buffer []byte) { b.kept.Put(&buffer) }
