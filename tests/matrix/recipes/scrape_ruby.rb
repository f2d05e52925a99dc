require "net/http"
require "openssl"

url, pki = ARGV
uri = URI(url)
options = {
  use_ssl: true, ca_file: "#{pki}/ca.pem",
  cert: OpenSSL::X509::Certificate.new(File.read("#{pki}/prometheus.pem")),
  key: OpenSSL::PKey.read(File.read("#{pki}/prometheus.key"))
}
Net::HTTP.start(uri.host, uri.port, **options) do |http|
  2.times do
    response = http.get(uri.path)
    response.value
    print response.body
  end
end
