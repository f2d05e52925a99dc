# services.aegis, the successor of within.services.aegis. README.md in this folder has an example.
#
# Tested with nix-instantiate 2.8 and a stub of nixpkgs' lib (.ci/nixos): parsed and evaluated, its assertions, its units and
# the aegis.toml that it writes. Not tested: a real nixpkgs, nixos-rebuild, and the virtual machine of test.nix.
{ config, lib, pkgs, ... }:

let
  cfg = config.services.aegis;
  toml = pkgs.formats.toml { };
  inherit (lib) mkOption mkEnableOption types;

  file = toml.generate "aegis.toml" cfg.settings;
  # The copies that aegis reads, if only root can read the files.
  copies = "/run/aegis/tls";
  copy = "${cfg.package}/lib/aegis/copy-credentials";
  # Required in `allow`. aegis rejects empty lists too; here nixos-rebuild reports them.
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
        Addresses and ports that systemd listens on for aegis. An address may be one that no interface has yet, such as a
        tunnel's.
      '';
    };

    openFirewall = mkOption {
      type = types.bool;
      default = false;
      description = "Whether to open the ports of listenStreams in the firewall. The networks of `allow` apply in any case.";
    };

    credentials = {
      certificate = mkOption {
        type = types.str;
        example = "/var/lib/acme/host/fullchain.pem";
        description = "Certificate chain of this server. Write the path as text, so that the file is not copied into the Nix store.";
      };
      key = mkOption {
        type = types.str;
        example = "/var/lib/acme/host/key.pem";
        description = "Private key of that certificate. root reads it; aegis's user need not.";
      };
      clientCa = mkOption {
        type = types.str;
        example = "/etc/aegis/client-ca.pem";
        description = "CA that the certificates of scrapers chain to.";
      };
    };

    settings = mkOption {
      default = { };
      description = "aegis.toml: every key of deploy/aegis.toml. The options below are typed; other keys are written unchanged.";
      type = types.submodule {
        freeformType = toml.type;
        options = {
          socket_dir = mkOption {
            type = types.str;
            default = "/run/aegis/services";
            description = "NAME.sock in this directory is scraped at /NAME.";
          };
          sandbox = mkOption {
            type = types.enum [ "best_effort" "required" ];
            default = "best_effort";
            description = "Kernel sandbox. \"required\": do not start if any part is missing.";
          };
          allow = mkOption {
            default = [ ];
            description = "Who may scrape what, from where. A scrape is allowed if one entry matches in all three columns.";
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
        message = "services.aegis.settings.allow: name at least one entry with networks, identities and services; otherwise every scrape would be refused.";
      }
      {
        assertion = !(cfg.settings ? listen) && !(cfg.settings ? tls && cfg.settings.tls ? key_file);
        message = "services.aegis: systemd listens (listenStreams), and aegis gets copies of the files (credentials); remove settings.listen and settings.tls.key_file.";
      }
      {
        assertion = lib.all (path: !(lib.hasPrefix builtins.storeDir path)) (builtins.attrValues cfg.credentials);
        message = "services.aegis.credentials: a file in the Nix store can be read by everybody; use a path outside of it, as text.";
      }
      {
        assertion = lib.all (path: builtins.match ".*[[:space:]\"].*" path == null) (builtins.attrValues cfg.credentials);
        message = "services.aegis.credentials: a path contains a space or a quotation mark; use another path, such as a link to it.";
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
    # For services that create sockets: users.users.NAME.extraGroups or SupplementaryGroups=.
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
        # The kernel's allowlist, in front of aegis's.
        IPAddressDeny = "any";
        IPAddressAllow = lib.concatMap (entry: entry.networks) cfg.settings.allow;
        Backlog = 1024;
        FileDescriptorName = "scrapes";
      };
    };

    # As in deploy/systemd/aegis.service, which has the reasons.
    systemd.services.aegis = {
      description = "Prometheus scrapes of services on Unix sockets, over mutual TLS";
      requires = [ "aegis.socket" ];
      wants = [ "aegis-credentials.service" ];
      after = [ "aegis.socket" "aegis-credentials.service" "nss-user-lookup.target" ];
      wantedBy = [ "multi-user.target" ];
      # aegis detects a changed /etc/aegis/aegis.toml by itself; this makes nixos-rebuild report it.
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
        Environment = [
          "AEGIS_TLS_CERT=${copies}/server.pem"
          "AEGIS_TLS_KEY=${copies}/server.key"
          "AEGIS_CLIENT_CA=${copies}/client-ca.pem"
        ];

        LimitNOFILE = 16384;
        LimitCORE = 0;
        MemoryMax = "416M";
        TasksMax = 32;

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

    # As in deploy/systemd/aegis-credentials.service: copies that follow their files.
    systemd.services.aegis-credentials = {
      description = "Copies for aegis of a certificate, key and client CA that only root can read";
      startLimitIntervalSec = 0;
      # cmp
      path = [ pkgs.diffutils ];
      serviceConfig = {
        Environment = [ "\"FILES=${cfg.credentials.certificate} ${cfg.credentials.key} ${cfg.credentials.clientCa}\"" ];
        ExecStartPre = "${copy} --once ${copies} $FILES";
        ExecStart = "${copy} ${copies} $FILES";
        Restart = "always";
        RestartSec = "1s";

        Group = "aegis";
        UMask = "0027";
        RuntimeDirectory = "aegis/tls";
        RuntimeDirectoryMode = "0750";
        RuntimeDirectoryPreserve = true;
        CapabilityBoundingSet = "CAP_DAC_READ_SEARCH";

        LimitCORE = 0;
        MemoryMax = "128M";
        TasksMax = 16;
        NoNewPrivileges = true;
        KeyringMode = "private";
        LockPersonality = true;
        MemoryDenyWriteExecute = true;
        RestrictNamespaces = true;
        RestrictRealtime = true;
        RestrictSUIDSGID = true;
        ProtectSystem = "strict";
        ProtectHome = "read-only";
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
        PrivateNetwork = true;
        DevicePolicy = "closed";
        DeviceAllow = "";
        RestrictAddressFamilies = "none";
        IPAddressDeny = "any";
        SystemCallArchitectures = "native";
        SystemCallFilter = [
          "@system-service"
          "~@privileged @resources"
        ];
        SystemCallErrorNumber = "EPERM";
      };
    };
  };
}
