#!/bin/sh
# Writes the secrets of docker-compose.yml into a folder, each into a file of its own, and prints none of them:
#
#     sh secrets.sh FOLDER
#
# What the environment gives is taken. What it does not give stays as it is, or is made up if there is none yet. The
# password of the database is never changed: the database keeps the one that it was made with.
set -eu
cd "$1"
umask 022 # those who mount the folder are different users; nobody else sees it

write() {
    printf '%s\n' "$2" >".$1.new"
    mv ".$1.new" "$1" # so that no half of it is ever there
}

make_up() {
    [ -s "$1" ] || write "$1" "$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')"
}

[ -z "${ADMIN_PASS:-}" ] || write admin_pass "$ADMIN_PASS"
[ -z "${JWT_SECRET:-}" ] || write jwt_secret "$JWT_SECRET"
[ -z "${JWT_SECRET_PREVIOUS:-}" ] || write jwt_secret_previous "$JWT_SECRET_PREVIOUS"
[ -z "${COINGECKO_API_KEY:-}" ] || write coingecko_api_key "$COINGECKO_API_KEY"
make_up admin_pass
make_up jwt_secret
make_up postgres_password
write database_url "postgresql://cryptopulse:$(cat postgres_password)@postgres:5432/cryptopulse"
