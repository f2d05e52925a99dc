#!/bin/sh
# Makes a throw-away PKI for aegis: one CA, server and scraper certificates, a revocation list.
#
# Everything is made in DIR/.generate and moved into place at the end, so a run that fails leaves
# DIR as it was. That folder is also the lock: two runs would each lose the other's serials.
set -eu
umask 077               # before the first file: a key is never readable by others, not even briefly
LC_ALL=C; export LC_ALL # [A-Za-z] must mean ASCII
unset CDPATH

CA_DAYS=90
LEAF_DAYS=30
CRL_DAYS=7
MAX_DAYS=3650

usage() {
    cat <<'USAGE'
usage: generate.sh [COMMAND] [OPTION]...

  init                 a CA, a server and a Prometheus certificate (what no COMMAND does)
      --san NAME_OR_IP     one more name for the server, next to localhost, 127.0.0.1 and ::1
      --client-dns NAME    instead of prometheus.example.org
      --client-uri URI     instead of spiffe://example.org/prometheus
  server NAME          one more server: NAME.pem and NAME.key
      --san NAME_OR_IP     its names; without any, the DNS name NAME
  client NAME          one more scraper: NAME.pem and NAME.key
      --dns NAME  --uri URI  --email ADDRESS  --ip IP
                           its names; without any, the DNS name NAME
  revoke NAME          mark NAME.pem as revoked; the next crl lists it
  crl                  write the revocation list crl.pem, in place of the one before

  --dir DIR            where the PKI is (default ./pki)
  --days N             days until the certificates (default 30) or the list (default 7) run out
  --force              replace files that exist; with init, that replaces the CA as well
  --help               this text

Options that name something may be repeated. Exit status: 0 done, 1 failed or refused, 2 wrong usage.
USAGE
}

say() { printf '%s\n' "$*"; }
refuse() { printf 'generate.sh: %s\n' "$*" >&2; exit 1; }
misuse() { printf 'generate.sh: %s\n' "$*" >&2; exit 2; }

# Prints $1 so that a shell reads it back as one word.
quoted() {
    case $1 in
        '' | *[!A-Za-z0-9_./:@%+=,-]*) printf "'%s'" "$(printf '%s' "$1" | sed "s/'/'\\\\''/g")" ;;
        *) printf '%s' "$1" ;;
    esac
}

# Prints $1 as one YAML string.
yaml_quoted() { printf "'%s'" "$(printf '%s' "$1" | sed "s/'/''/g")"; }

path() { quoted "${dir%/}/$1"; }
again() { printf '%s %s --dir %s' "$(quoted "$0")" "$1" "$(quoted "$dir")"; }

# --- What may be given. Every value below ends up in an openssl configuration, where commas, spaces,
# --- newlines, `$`, `\` and quotes have a meaning, so only what is known to be harmless passes.

matches() { printf '%s\n' "$1" | grep -Eq "$2"; }

is_dns() {
    case $1 in '' | *[!A-Za-z0-9._-]*) return 1 ;; esac
    [ ${#1} -le 253 ] || return 1
    # A last label of digits alone would be a mistyped address.
    ! matches "$1" '(^|\.)[0-9]+$' || return 1
    matches "$1" '^([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(\.|$))+$' && [ "${1%.}" = "$1" ]
}

is_ip() {
    case $1 in '' | *[!0-9A-Fa-f.:]*) return 1 ;; esac
    byte='(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])'
    ! matches "$1" "^$byte(\.$byte){3}\$" || return 0
    # IPv6: eight groups, or fewer around a single "::".
    printf '%s\n' "$1" | awk '{
        short = gsub(/::/, ":x:")
        if (short > 1) exit 1
        sub(/^:x/, "x"); sub(/x:$/, "x")
        groups = split($0, group, ":")
        for (i = 1; i <= groups; i++) if (group[i] !~ /^([0-9A-Fa-f][0-9A-Fa-f]?[0-9A-Fa-f]?[0-9A-Fa-f]?|x)$/) exit 1
        exit !(short ? groups <= 8 : groups == 8)
    }'
}

is_uri() {
    case $1 in *[!A-Za-z0-9._~:/?@+=%-]*) return 1 ;; esac
    matches "$1" '^[A-Za-z][A-Za-z0-9+.-]*:[^:]'
}

is_email() {
    case $1 in *[!A-Za-z0-9._+@-]* | *@*@*) return 1 ;; *?@?*) is_dns "${1#*@}" ;; *) return 1 ;; esac
}

# Adds "$1:$2" to the comma-separated list $3, once.
joined() {
    case ",$3," in
        *",$1:$2,"*) printf '%s' "$3" ;;
        *) printf '%s' "${3:+$3,}$1:$2" ;;
    esac
}

add_server_name() {
    if is_ip "$2"; then server_names=$(joined IP "$2" "$server_names")
    elif is_dns "$2"; then server_names=$(joined DNS "$2" "$server_names")
    else misuse "$1 '$2' is neither a DNS name nor an IP address; give one of them, without port, brackets or comma"
    fi
}

add_client_name() {
    case $1 in
        --ip) is_ip "$2" || misuse "$1 '$2' is not an IP address"; kind=IP ;;
        --email) is_email "$2" || misuse "$1 '$2' is not an email address of letters, digits and . _ + - around one @"; kind=email ;;
        --*uri) is_uri "$2" || misuse "$1 '$2' is not a URI with a scheme and without commas, spaces or quotes"; kind=URI ;;
        *) is_dns "$2" || misuse "$1 '$2' is not a DNS name"; kind=DNS ;;
    esac
    client_names=$(joined "$kind" "$2" "$client_names")
}

check_name() {
    case $1 in
        '') misuse "$command needs a NAME, as in: $command NAME" ;;
        [!A-Za-z0-9_]* | *[!A-Za-z0-9._-]*)
            misuse "the name '$1' is not usable: it takes letters, digits and . _ -, and starts with a letter, digit or _" ;;
        [Cc][Aa] | [Cc][Rr][Ll]) misuse "the name '$1' is taken by the CA's own files; choose another" ;;
    esac
    [ ${#1} -le 64 ] || misuse "the name '$1' is longer than the 64 characters a certificate's CN holds"
}

check_days() {
    case $1 in
        '' | *[!0-9]* | 0* | ?????*) ;;
        *) [ "$1" -gt "$MAX_DAYS" ] || return 0 ;;
    esac
    misuse "--days '$1' is not a whole number from 1 to $MAX_DAYS"
}

check_dir() {
    case $1 in
        '') misuse "--dir is empty; name a folder" ;;
        *[[:cntrl:]]*) misuse "--dir contains a control character; choose another folder" ;;
        -*) dir=./$1 ;; # what we print must not look like an option
        *) dir=$1 ;;
    esac
}

# --- Working in DIR.

need_openssl() {
    command -v openssl >/dev/null || refuse "openssl is not in PATH; install it, then run this again"
    case $(openssl version 2>&1) in
        "OpenSSL 1.1.1"* | "OpenSSL "[3-9].*) ;;
        *) refuse "the openssl in PATH is not OpenSSL 1.1.1 or newer; install one that is" ;;
    esac
}

stage=''
made_dir=''

cleanup() {
    status=$?
    trap '' HUP INT TERM
    cd /
    [ -z "$stage" ] || rm -rf -- "$stage"
    # Only an empty folder goes: rmdir refuses any other.
    [ "$status" -eq 0 ] || [ -z "$made_dir" ] || rmdir -- "$made_dir" 2>/dev/null || :
    exit "$status"
}

# Enters DIR/.generate. From here on DIR is "..", so that its own name never reaches openssl.
enter() {
    trap cleanup EXIT
    trap 'exit 129' HUP; trap 'exit 130' INT; trap 'exit 143' TERM
    [ -d "$dir" ] || { mkdir -p -- "$dir" && made_dir=$(cd -- "$dir" && pwd -P); } || refuse "cannot create the folder $(quoted "$dir")"
    top=$(cd -- "$dir" && pwd -P) || refuse "cannot enter the folder $(quoted "$dir")"
    if ! mkdir -- "$top/.generate" 2>/dev/null; then
        [ -d "$top/.generate" ] || refuse "cannot write in the folder $(quoted "$dir")"
        refuse "$(path .generate) exists: another run is at work; if none is, remove that folder"
    fi
    stage=$top/.generate
    cd -- "$stage"
    mkdir ca-db old old/ca-db
    write_config
}

write_config() {
    cat >openssl.cnf <<'CONFIG'
[req]
distinguished_name = no_defaults
string_mask = utf8only
[no_defaults]
[ca]
default_ca = throw_away
[throw_away]
database = ca-db/index.txt
crlnumber = ca-db/crlnumber
new_certs_dir = .
rand_serial = yes
default_md = sha256
policy = name_only
unique_subject = no
copy_extensions = none
crl_extensions = crl
[name_only]
commonName = supplied
[authority]
basicConstraints = critical,CA:TRUE,pathlen:0
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
[crl]
authorityKeyIdentifier = keyid:always
CONFIG
    # openssl expects this next to its index, and warns on every run where it is missing.
    say "unique_subject = no" >ca-db/index.txt.attr
    OPENSSL_CONF=openssl.cnf; export OPENSSL_CONF # the host's own may be broken or surprising
}

# Enters the DIR of an earlier init, with a copy of its database.
enter_existing() {
    for file in ca.pem ca.key ca-db/index.txt ca-db/crlnumber; do
        [ -f "$dir/$file" ] || refuse "$(path "$file") is missing; run $(again init) first, or bring the file back"
    done
    enter
    cp ../ca-db/index.txt ../ca-db/crlnumber ca-db/
    ca=..
}

# Refuses to replace any of the files given, unless --force allows it.
reserve() {
    for file; do
        [ ! -d "../$file" ] || refuse "$(path "$file") is a folder; move it away"
        [ -z "$force" ] || continue
        if [ -e "../$file" ] || [ -L "../$file" ]; then
            refuse "$(path "$file") exists and is left as it is; give --force to replace it"
        fi
    done
}

# Moves the files given into DIR, all of them or none.
publish() {
    trap '' HUP INT TERM
    [ -d ../ca-db ] || mkdir ../ca-db
    for file; do
        [ ! -e "../$file" ] || cp -p -- "../$file" "old/$file" || refuse "cannot set $(path "$file") aside; nothing was changed"
    done
    for file; do
        mv -f -- "$file" "../$file" && continue
        for undone; do
            if [ -e "old/$undone" ]; then mv -f -- "old/$undone" "../$undone"; else rm -f -- "../$undone"; fi
        done
        rmdir ../ca-db 2>/dev/null || : # it goes only if it is empty
        refuse "cannot write in $(quoted "$dir"); nothing was changed"
    done
}

quiet_openssl() {
    openssl "$@" >log 2>&1 </dev/null || { cat log >&2; refuse "openssl $1 failed as shown above; nothing was changed"; }
}

# Makes the key and the request for $1.
key_and_request() {
    quiet_openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:named_curve -out "$1.key"
    quiet_openssl req -new -sha256 -key "$1.key" -subj "/CN=$2" -out "$1.csr"
}

# Signs $1.csr for $2 days; the rest goes to openssl ca. The start is yesterday's midnight, so that
# a host whose clock is slow accepts the certificate too; TZ=UTC24 is the portable way to say yesterday.
sign() {
    file=$1 for_days=$2; shift 2
    quiet_openssl ca -batch -notext -startdate "$(TZ=UTC24 date +%Y%m%d)000000Z" -days "$for_days" \
        -in "$file.csr" -out "$file.pem" "$@"
    chmod 644 "$file.pem"
}

# Makes $1.key and $1.pem with the extended key usage $2 and the names $3.
leaf() {
    openssl x509 -checkend "$((days * 86400))" -noout -in "$ca/ca.pem" >/dev/null ||
        refuse "the CA ends before the $days days asked for; give fewer --days, or make a new CA with $(again init) --force"
    key_and_request "$1" "$1"
    cat >"$1.ext" <<EXTENSIONS
[leaf]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = $2
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid:always
subjectAltName = $3
EXTENSIONS
    sign "$1" "$days" -cert "$ca/ca.pem" -keyfile "$ca/ca.key" -extfile "$1.ext" -extensions leaf
}

# Prints --allow-identity for the first name in the list $1, in aegis's spelling.
allow_identity() {
    first=${1%%,*}
    printf -- '--allow-identity %s:%s' "$(printf '%s' "${first%%:*}" | tr '[:upper:]' '[:lower:]')" "${first#*:}"
}

listed() { printf '%s' "$1" | sed -E 's/(^|,)(DNS|IP|URI|email):/\1/g; s/,/, /g'; }

# --- The commands.

init() {
    case ,$client_names in *,DNS:*) ;; *) client_names=DNS:prometheus.example.org${client_names:+,$client_names} ;; esac
    case ,$client_names in *,URI:*) ;; *) client_names=$client_names,URI:spiffe://example.org/prometheus ;; esac
    enter
    set -- ca-db/index.txt ca-db/crlnumber ca.key ca.pem server.key server.pem prometheus.key prometheus.pem
    reserve ca.pem "$@" crl.pem
    : >ca-db/index.txt
    say 01 >ca-db/crlnumber
    ca=.
    [ "$days" -lt "$CA_DAYS" ] || CA_DAYS=$((days + 1)) # a CA must outlive what it signs
    # The name is unique, so that what an earlier CA signed is never taken for this one's.
    mark=$(openssl rand -hex 4) || refuse "openssl rand failed; nothing was changed"
    key_and_request ca "aegis throw-away CA $mark"
    sign ca "$CA_DAYS" -selfsign -keyfile ca.key -extensions authority
    leaf server serverAuth "$server_names"
    leaf prometheus clientAuth "$client_names"
    publish "$@"
    rm -f ../crl.pem # under --force: the list of the CA that is gone would only be refused
    init_summary
}

init_summary() {
    cat <<SUMMARY
Made in $(quoted "$dir"):
  ca.pem, ca.key                  the CA, $CA_DAYS days
  server.pem, server.key          aegis, $days days: $(listed "$server_names")
  prometheus.pem, prometheus.key  the scraper, $days days: $(listed "$client_names")
Keep ca.key off the host that runs aegis.

Start aegis:
  aegis serve \\
    --socket-dir /run/aegis/services \\
    --tls-cert $(path server.pem) \\
    --tls-key $(path server.key) \\
    --client-ca $(path ca.pem) \\
    --allow-network 127.0.0.1/32 \\
    --allow-network ::1/128 \\
    $(allow_identity "$client_names")

Tell Prometheus, in the scrape job (it reads relative paths from the folder of prometheus.yml):
  scheme: https
  tls_config:
    ca_file: $(yaml_quoted "${dir%/}/ca.pem")
    cert_file: $(yaml_quoted "${dir%/}/prometheus.pem")
    key_file: $(yaml_quoted "${dir%/}/prometheus.key")
    server_name: localhost

Try it, with the name of a service for NAME:
  curl --cacert $(path ca.pem) --cert $(path prometheus.pem) --key $(path prometheus.key) https://localhost:31337/NAME
SUMMARY
}

server() {
    [ -n "$server_names" ] || add_server_name "the name" "$name"
    further_leaf serverAuth "$server_names"
    say "Next: aegis serve --tls-cert $(path "$name.pem") --tls-key $(path "$name.key") ..."
}

client() {
    [ -n "$client_names" ] || add_client_name "the name" "$name"
    further_leaf clientAuth "$client_names"
    say "Next: aegis serve $(allow_identity "$client_names") ..."
}

further_leaf() {
    enter_existing
    reserve "$name.pem" "$name.key"
    leaf "$name" "$@"
    publish ca-db/index.txt "$name.key" "$name.pem"
    say "Made $(path "$name.pem") and $(path "$name.key") for $(listed "$2"), $days days."
}

revoke() {
    enter_existing
    [ -f "../$name.pem" ] || refuse "$(path "$name.pem") does not exist, so there is nothing to revoke"
    serial=$(openssl x509 -noout -serial -in "../$name.pem" 2>/dev/null) || refuse "$(path "$name.pem") is not a certificate"
    serial=${serial#serial=}
    case $(awk -F '\t' -v serial="$serial" '$4 == serial { print $1 }' ca-db/index.txt) in
        '') refuse "$(path "$name.pem") (serial $serial) was not made by the CA in $(quoted "$dir")" ;;
        R) say "$(path "$name.pem") (serial $serial) was revoked before; nothing was changed." ;;
        *)
            quiet_openssl ca -revoke "../$name.pem" -cert "$ca/ca.pem" -keyfile "$ca/ca.key"
            publish ca-db/index.txt
            say "Revoked $(path "$name.pem") (serial $serial)."
            ;;
    esac
    say "Next, for aegis to learn of it: $(again crl)"
}

# Replaces the list that is there: it repeats the database, and it expires.
crl() {
    enter_existing
    quiet_openssl ca -gencrl -crldays "$days" -cert "$ca/ca.pem" -keyfile "$ca/ca.key" -out crl.pem
    chmod 644 crl.pem
    publish ca-db/crlnumber crl.pem
    say "Made $(path crl.pem): $(grep -c '^R' ca-db/index.txt || :) revoked, good for $days days; make a new one before they are over."
    say "Next: aegis serve --client-crl $(path crl.pem) ..."
}

main() {
    case ${1-} in
        '' | -*) command=init ;;
        *) command=$1; shift ;;
    esac
    case $command in
        init) days=$LEAF_DAYS takes_name='' ;;
        server | client) days=$LEAF_DAYS takes_name=yes ;;
        revoke) days='' takes_name=yes ;;
        crl) days=$CRL_DAYS takes_name='' ;;
        *) misuse "there is no command '$command'; see --help" ;;
    esac
    dir=./pki name='' force='' server_names='' client_names=''
    [ "$command" != init ] || server_names=DNS:localhost,IP:127.0.0.1,IP:::1

    while [ $# -gt 0 ]; do
        case $command:$1 in
            *:--help | *:-h) usage; exit 0 ;;
            revoke:--force | crl:--force) misuse "$command takes no --force" ;;
            *:--force) force=yes; shift; continue ;;
            *:--dir | init:--days | server:--days | client:--days | crl:--days) ;;
            init:--san | server:--san | init:--client-dns | init:--client-uri) ;;
            client:--dns | client:--uri | client:--email | client:--ip) ;;
            *:-*) misuse "$command has no option '$1'; see --help" ;;
            *)
                if [ -z "$takes_name" ] || [ -n "$name" ]; then misuse "$command does not take '$1'; see --help"; fi
                check_name "$1"; name=$1; shift; continue
                ;;
        esac
        [ $# -ge 2 ] || misuse "$1 needs a value; see --help"
        case $1 in
            --dir) check_dir "$2" ;;
            --days) check_days "$2"; days=$2 ;;
            --san) add_server_name "$1" "$2" ;;
            *) add_client_name "$1" "$2" ;;
        esac
        shift 2
    done
    [ -z "$takes_name" ] || check_name "$name"
    need_openssl
    "$command"
}

main "$@"
