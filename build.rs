//! Stops the build on another system than Linux with one sentence: the dependencies are for Linux
//! alone, so that nothing fails before this.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let system = std::env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    if system != "linux" {
        println!(
            "cargo::error=aegis runs on Linux only, and this build is for {system}: build it on Linux, or for a Linux target"
        );
    }
}
