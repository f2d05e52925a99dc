# A virtual machine with aegis, node_exporter on a Unix socket and a scrape by curl:
# nix-build --expr '(import <nixpkgs> { }).testers.runNixOSTest ./deploy/nixos/test.nix'
#
# Parsed in CI, but never run: the machine has no nixpkgs.
{ pkgs, ... }:

{
  name = "aegis";

  nodes.machine = { config, ... }: {
    imports = [ ./module.nix ];

    services.aegis = {
      enable = true;
      credentials = {
        certificate = "/etc/aegis-test/server.pem";
        key = "/etc/aegis-test/server.key";
        clientCa = "/etc/aegis-test/ca.pem";
      };
      settings.allow = [{
        networks = [ "::1" "127.0.0.1" ];
        identities = [ "dns:prometheus.example.org" ];
        services = [ "node" "metrics" ];
      }];
    };
    # Certificates are created after the boot.
    systemd.services.aegis.wantedBy = pkgs.lib.mkForce [ ];

    environment.systemPackages = [ pkgs.openssl pkgs.curl ];

    systemd.sockets.node = {
      wantedBy = [ "sockets.target" ];
      listenStreams = [ "/run/aegis/services/node.sock" ];
      socketConfig.SocketMode = "0660";
      socketConfig.SocketGroup = "aegis";
    };
    systemd.services.node.serviceConfig.ExecStart =
      "${pkgs.prometheus-node-exporter}/bin/node_exporter --web.systemd-socket";
  };

  testScript = ''
    machine.wait_for_unit("sockets.target")
    machine.succeed("sh ${../../certs/generate.sh} --dir /etc/aegis-test")
    machine.succeed("systemctl start aegis.service")
    scrape = (
        "curl --silent --show-error --fail --cacert /etc/aegis-test/ca.pem "
        "--cert /etc/aegis-test/prometheus.pem --key /etc/aegis-test/prometheus.key "
    )
    machine.succeed(scrape + "https://localhost:31337/node | grep -q '^node_cpu_seconds_total'")
    machine.fail("curl --fail --cacert /etc/aegis-test/ca.pem https://localhost:31337/node")
    machine.succeed(scrape + "https://localhost:31337/metrics | grep -q 'aegis_sandbox_active{kind=\"seccomp\"} 1'")

    with subtest("aegis has no network"):
        pid = machine.succeed("systemctl show --property MainPID --value aegis").strip()
        machine.fail(f"test $(readlink /proc/{pid}/ns/net) = $(readlink /proc/1/ns/net)")

    with subtest("a renewed certificate is in force without a restart"):
        machine.succeed("sh ${../../certs/generate.sh} server renewed --san localhost --dir /etc/aegis-test")
        machine.succeed("cd /etc/aegis-test && cp renewed.pem server.pem && cp renewed.key server.key")
        shown = "openssl s_client -connect localhost:31337 </dev/null 2>/dev/null | openssl x509 -noout -serial"
        machine.wait_until_succeeds(
            f"test \"$({shown})\" = \"$(openssl x509 -noout -serial -in /etc/aegis-test/renewed.pem)\"", timeout=3
        )
        machine.succeed(f"test {pid} = $(systemctl show --property MainPID --value aegis)")

    with subtest("a restart refuses no scrape"):
        machine.succeed("systemctl restart --no-block aegis")
        machine.succeed(scrape + "https://localhost:31337/node > /dev/null")
  '';
}
