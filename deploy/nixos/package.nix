# aegis from this checkout, as `pkgs.callPackage ./package.nix { }`. Needs a nixpkgs whose Rust is 1.88 or newer.
{ lib, rustPlatform, cmake }:

let
  # Kept out of the store, which every user can read: the folders that the README creates, build output, and keys.
  made = map (name: toString (../.. + "/${name}")) [ "pki" "services" "target" "fuzz/target" ];
in
rustPlatform.buildRustPackage {
  pname = "aegis";
  version = (lib.importTOML ../../Cargo.toml).package.version;

  src = lib.cleanSourceWith {
    src = lib.cleanSource ../..;
    filter = path: type: !(builtins.elem path made || lib.hasSuffix ".key" path);
  };
  cargoLock.lockFile = ../../Cargo.lock;

  # aws-lc, the cryptography, is C.
  nativeBuildInputs = [ cmake ];
  env.AWS_LC_SYS_NO_JITTER_ENTROPY = "1";

  # For the module: copies of files that only root can read.
  postInstall = "install -D -m 0755 -t $out/lib/aegis deploy/systemd/copy-credentials";

  # The tests need network namespaces and files of the host; .ci/run runs them.
  doCheck = false;

  meta = {
    description = "Lets Prometheus scrape services that listen only on Unix sockets, over mutual TLS, from addresses you name";
    license = with lib.licenses; [ mit asl20 ];
    mainProgram = "aegis";
    platforms = lib.platforms.linux;
  };
}
