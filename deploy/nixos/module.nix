# services.aegis, successor of within.services.aegis. README.md beside this file has an example.
#
# Tried with nix-instantiate 2.8 and a stub of nixpkgs' lib (.ci/nixos): parsed and evaluated, its assertions, its units and
# the aegis.toml that it writes. Not tried: a real nixpkgs, nixos-rebuild, and the virtual machine of test.nix.
{ config, lib, pkgs, ... }:

let
  cfg = config.services.aegis;
  toml = pkgs.formats.toml { };
  inherit (lib) mkOption mkEnableOption types;

  file = toml.generate "aegis.toml" cfg.settings;
  # What `allow` may not lack. Empty lists are refused by aegis too; here nixos-rebuild says it.
  complete = entry: lib.all (column: entry.${column} or [ ] != [ ]) [ "networks" "identities" "services" ];
in
{
  imports = [
    (lib.mkRenamedOptionModule [ "within" "services" "aegis" "enable" ] [ "services" "aegis" "enable" ])
    (lib.mkRenamedOptionModule [ "within" "services" "aegis" "sockdir" ] [ "services" "aegis" "settings" "socket_dir" ])
    (lib.mkRemovedOptionModule [ "within" "services" "aegis" "hostport" ]
      "List it in services.aegis.listenStreams, its scrapers' networks in services.aegis.settings.allow, and set services.aegis.credentials: aegis speaks mutual TLS alone now.")
  ];

  options.services.aegis = {
    enable = mkEnableOption "aegis, scrapes of services on Unix sockets over mutual TLS";

    package = mkOption {
      type = types.package;
      default = pkgs.callPackage ./package.nix { };
      defaultText = lib.literalExpression "pkgs.callPackage ./package.nix { }";
      description = "The aegis to run.";
    };

    listenStreams = mkOption {
      type = types.listOf types.str;
      default = [
        "[::1]:31337"
        "127.0.0.1:31337"
      ];
      example = [ "10.100.0.7:31337" ];
      description = ''
        Addresses and ports that systemd listens on for aegis. One that no interface has yet, such as that of a tunnel, is
        listened on all the same.
      '';
    };

    openFirewall = mkOption {
      type = types.bool;
      default = false;
      description = "Whether to open the ports of listenStreams in the firewall. The networks of `allow` hold in any case.";
    };

    credentials = {
      certificate = mkOption {
        type = types.str;
        example = "/var/lib/acme/host/fullchain.pem";
        description = "Certificate chain of this server. A path as text: it must not get into the Nix store.";
      };
      key = mkOption {
        type = types.str;
        example = "/var/lib/acme/host/key.pem";
        description = "Private key of that certificate. systemd reads it as root; aegis's user need not.";
      };
      clientCa = mkOption {
        type = types.str;
        example = "/etc/aegis/client-ca.pem";
        description = "CA that the certificates of scrapers lead to.";
      };
    };

    settings = mkOption {
      default = { };
      description = "aegis.toml: every key of deploy/aegis.toml. These have a type, the others pass as they are.";
      type = types.submodule {
        freeformType = toml.type;
        options = {
          socket_dir = mkOption {
            type = types.str;
            default = "/run/aegis/services";
            description = "NAME.sock in this directory answers at /NAME.";
          };
          sandbox = mkOption {
            type = types.enum [ "best_effort" "required" ];
            default = "best_effort";
            description = "Whether aegis starts where the kernel lacks a part of the sandbox.";
          };
          allow = mkOption {
            default = [ ];
            description = "Who may scrape what, from where. A scrape passes if one entry matches in all three columns.";
            type = types.listOf (types.submodule {
              options = {
                networks = mkOption {
                  type = types.listOf types.str;
                  example = [ "10.100.0.0/24" ];
                  description = "Networks or single addresses of scrapers.";
                };
                identities = mkOption {
                  type = types.listOf types.str;
                  example = [ "dns:prometheus.example.org" ];
                  description = "Names in the scraper's certificate.";
                };
                services = mkOption {
                  type = types.listOf types.str;
                  example = [ "*" ];
                  description = "Names of services.";
                };
              };
            });
          };
        };
      };
    };
  };

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = cfg.settings.allow != [ ] && lib.all complete cfg.settings.allow;
        message = "services.aegis.settings.allow: name at least one entry, with networks, identities and services; without, nobody could scrape.";
      }
      {
        assertion = !(cfg.settings ? listen) && !(cfg.settings ? tls && cfg.settings.tls ? key_file);
        message = "services.aegis: systemd listens (listenStreams), and hands the files over (credentials); settings.listen and settings.tls.key_file have no place.";
      }
      {
        assertion = lib.all (path: !(lib.hasPrefix builtins.storeDir path)) (builtins.attrValues cfg.credentials);
        message = "services.aegis.credentials: a file in the Nix store can be read by everybody; give a path outside of it, as text.";
      }
    ];

    environment.systemPackages = [ cfg.package ];
    environment.etc."aegis/aegis.toml".source = file;

    users.users.aegis = {
      isSystemUser = true;
      group = "aegis";
      extraGroups = [ "aegis-services" ];
    };
    users.groups.aegis = { };
    # Whoever puts a socket in place: users.users.NAME.extraGroups or SupplementaryGroups=.
    users.groups.aegis-services = { };
    systemd.tmpfiles.rules = [
      "d /run/aegis 0755 root root -"
      "d ${cfg.settings.socket_dir} 3770 root aegis-services -"
    ];

    networking.firewall.allowedTCPPorts = lib.mkIf cfg.openFirewall
      (map (address: lib.toInt (lib.last (lib.splitString ":" address))) cfg.listenStreams);

    systemd.sockets.aegis = {
      description = "Scrapes of services on Unix sockets, over mutual TLS";
      wantedBy = [ "sockets.target" ];
      listenStreams = cfg.listenStreams;
      socketConfig = {
        FreeBind = true;
        # The kernel's own allowlist, in front of aegis's.
        IPAddressDeny = "any";
        IPAddressAllow = lib.concatMap (entry: entry.networks) cfg.settings.allow;
        Backlog = 1024;
        FileDescriptorName = "scrapes";
      };
    };

    # As deploy/systemd/aegis.service, which has the reasons.
    systemd.services.aegis = {
      description = "Prometheus scrapes of services on Unix sockets, over mutual TLS";
      requires = [ "aegis.socket" ];
      after = [ "aegis.socket" ];
      wantedBy = [ "multi-user.target" ];
      # aegis sees by itself that /etc/aegis/aegis.toml changed; this makes nixos-rebuild say so.
      reloadTriggers = [ file ];
      serviceConfig = {
        ExecStart = "${lib.getExe cfg.package} serve --listen systemd";
        ExecReload = "${pkgs.coreutils}/bin/kill -HUP $MAINPID";
        Type = "notify";
        NotifyAccess = "main";
        WatchdogSec = "30s";
        Restart = "on-failure";
        RestartSec = "1s";
        RestartPreventExitStatus = [ 2 78 ];
        TimeoutStopSec = "20s";

        User = "aegis";
        Group = "aegis";
        UMask = "0077";
        RuntimeDirectory = "aegis/admin";
        RuntimeDirectoryMode = "0700";
        LoadCredential = [
          "server.pem:${cfg.credentials.certificate}"
          "server.key:${cfg.credentials.key}"
          "client-ca.pem:${cfg.credentials.clientCa}"
        ];
        Environment = [
          "AEGIS_TLS_CERT=%d/server.pem"
          "AEGIS_TLS_KEY=%d/server.key"
          "AEGIS_CLIENT_CA=%d/client-ca.pem"
        ];

        LimitNOFILE = 16384;
        LimitCORE = 0;
        MemoryMax = "416M";
        TasksMax = 16;

        NoNewPrivileges = true;
        CapabilityBoundingSet = "";
        AmbientCapabilities = "";
        KeyringMode = "private";
        LockPersonality = true;
        MemoryDenyWriteExecute = true;
        RemoveIPC = true;
        RestrictNamespaces = true;
        RestrictRealtime = true;
        RestrictSUIDSGID = true;
        ProtectSystem = "strict";
        ProtectHome = true;
        ProtectProc = "invisible";
        ProcSubset = "pid";
        ProtectClock = true;
        ProtectControlGroups = true;
        ProtectHostname = true;
        ProtectKernelLogs = true;
        ProtectKernelModules = true;
        ProtectKernelTunables = true;
        PrivateTmp = true;
        PrivateDevices = true;
        PrivateIPC = true;
        PrivateMounts = true;
        DevicePolicy = "closed";
        DeviceAllow = "";
        InaccessiblePaths = [ "-/run/dbus" "-/run/systemd/resolve" "-/run/avahi-daemon" ];
        SystemCallArchitectures = "native";
        SystemCallFilter = [
          "@system-service"
          "landlock_create_ruleset landlock_add_rule landlock_restrict_self seccomp"
          "~@privileged @resources"
        ];
        SystemCallErrorNumber = "EPERM";
        PrivateNetwork = true;
        RestrictAddressFamilies = "AF_UNIX";
        IPAddressDeny = "any";
      };
    };
  };
}
