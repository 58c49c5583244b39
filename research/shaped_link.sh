#!/bin/sh
# Measures lanes over a link of a known speed: two network namespaces of this machine, joined by a veth pair that
# tbf shapes in both directions. Linux, as root, with ip and tc (Debian: iproute2).
#
#   shaped_link.sh bench [RATE...]        orrery bench transport, plain and TLS (default: 1gbit 10gbit)
#   shaped_link.sh run RATE COMMAND...    COMMAND in one namespace, with a node of a cluster in each of them
#
# ORRERY is the program (default: orrery). ROUNDS is bench's --rounds (default 5, of which every fourth has bulk where
# exchanges are measured too), BENCH_FLAGS more of its flags, such as "--only bulk".
# The two ends of bench run on different cores, as those of two machines do: the kernel tends to put both on one, because each
# wakes the other, and then that core is what limits.
#
# COMMAND of run may use $JOIN, the address of the first node:
#
#   ORRERY=./orrery research/shaped_link.sh run 1gbit 'orrery generate --join $JOIN --insecure --mode ring ...'
set -eu

orrery=${ORRERY:-orrery}
here=10.99.7.1
there=10.99.7.2
id=orrery$$
dir=$(mktemp -d)

fail() {
	echo "shaped_link.sh: $*" >&2
	exit 1
}

# empty ends what was started in a namespace, and nothing else.
empty() { ip netns pids "$1" 2>/dev/null | xargs -r kill 2>/dev/null || true; }

finish() {
	for ns in "$id-a" "$id-b"; do
		empty "$ns"
		ip netns del "$ns" 2>/dev/null || true
	done
	rm -rf "$dir"
}

[ "$(uname)" = Linux ] || fail "it takes Linux: network namespaces and tc"
[ "$(id -u)" = 0 ] || fail "it takes root: ip netns add and tc"
for tool in ip tc taskset; do
	command -v $tool >/dev/null || fail "it takes $tool: apt-get install iproute2 util-linux"
done
command -v "$orrery" >/dev/null || fail "no program $orrery: build it, and set ORRERY to its path"
orrery=$(command -v "$orrery")

# link makes the namespaces and the link of a rate between them.
link() {
	gbit=${1%gbit}
	case $gbit in '' | *[!0-9]*) fail "a rate of $1, want whole Gbit/s, such as 10gbit" ;; esac
	ip netns add "$id-a"
	ip netns add "$id-b"
	ip link add "va$$" netns "$id-a" type veth peer name "vb$$" netns "$id-b"
	ip -n "$id-a" addr add $here/24 dev "va$$"
	ip -n "$id-b" addr add $there/24 dev "vb$$"
	for end in a b; do
		ip -n "$id-$end" link set lo up
		ip -n "$id-$end" link set "v$end$$" up
		# The burst is what passes in a millisecond: with less, the timer cannot keep up.
		tc -n "$id-$end" qdisc add dev "v$end$$" root tbf rate "$1" burst $((gbit * 128))kb latency 20ms ||
			fail "the kernel cannot shape with tbf (CONFIG_NET_SCH_TBF)"
	done
}

cut() {
	for end in a b; do
		ip netns del "$id-$end"
	done
}

a() { ip netns exec "$id-a" "$@"; }
b() { ip netns exec "$id-b" "$@"; }

# within waits until a file has a line that matches.
within() {
	tries=0
	until grep -qs "$2" "$1"; do
		tries=$((tries + 1))
		[ $tries -lt 150 ] || fail "never came: $2; $(cat "$1")"
		sleep 0.1
	done
}

# apart sets here_cpus and there_cpus to halves of the processors, and both to all where there is but one.
apart() {
	all=$(nproc)
	here_cpus=0-$((all - 1)) there_cpus=0-$((all - 1))
	[ "$all" -lt 2 ] || here_cpus=0-$((all / 2 - 1)) there_cpus=$((all / 2))-$((all - 1))
}

bench() {
	apart
	# Go counts the processors that a process may use. With one, nobody spins, and nobody waits with his thread.
	GOMAXPROCS=$all
	export GOMAXPROCS
	"$orrery" ca init --dir "$dir/ca" --cluster shaped >/dev/null
	for node in near far; do
		"$orrery" ca issue --dir "$dir/ca" --out "$dir/$node.tls" $node >/dev/null
	done
	for rate in "$@"; do
		link "$rate"
		b taskset -c $there_cpus "$orrery" bench transport --listen $there:7950 --tls "$dir/far.tls" >"$dir/log" 2>&1 &
		peer=$!
		within "$dir/log" answering
		echo "# a link of $rate"
		a taskset -c $here_cpus "$orrery" bench transport --peer $there:7950 --tls "$dir/near.tls" --rounds "${ROUNDS:-5}" --format "${FORMAT:-table}" ${BENCH_FLAGS:-}
		empty "$id-b" # of the peer, too, which is no child of this shell
		wait $peer || true
		cut
	done
}

trap finish EXIT
trap 'exit 1' INT TERM

what=${1:-bench}
[ $# -eq 0 ] || shift
case $what in
bench)
	[ $# -gt 0 ] || set -- 1gbit 10gbit
	bench "$@"
	;;
run)
	[ $# -ge 2 ] || fail "run takes a rate and a command"
	link "$1"
	shift
	PATH=$(dirname "$orrery"):$PATH
	JOIN=$here:7946
	export JOIN PATH
	for node in a b; do
		address=$here
		join=
		[ $node = a ] || { address=$there join="--join $JOIN"; }
		$node "$orrery" node --name $node --bind $address:7946 $join --insecure --threads 1 ${NODE_FLAGS:-} >"$dir/$node.log" 2>&1 &
		within "$dir/$node.log" "gossip on"
	done
	a sh -c "$*"
	;;
*)
	fail "bench or run, not $what"
	;;
esac
