#!/usr/bin/env bash
# A small real Slurm on this machine, for the tests: Debian's packages, a controller and three nodes, each in its own
# network namespace with its own hostname and address. Needs root.
#
#   tests/slurm/cluster.sh up                   start it; does nothing when it is running
#   tests/slurm/cluster.sh run sbatch ...       run a command on the controller's host
#   tests/slurm/cluster.sh lose n2              cut the node off the network and kill its processes
#   tests/slurm/cluster.sh restore n2           start the node again
#   tests/slurm/cluster.sh down                 stop everything and remove the namespaces
#
# PNEUMO_SLURM_ROOT (/tmp/pneumo-test-slurm) holds configuration, state and logs.
set -euo pipefail

root=${PNEUMO_SLURM_ROOT:-/tmp/pneumo-test-slurm}
network=10.213.57 # exists only inside the namespaces
nodes=(n1 n2 n3)
export SLURM_CONF=$root/slurm.conf

fail() {
    echo "cluster.sh: $1" >&2
    exit 2
}

install_packages() {
    local command
    for command in slurmctld slurmd sbatch munged ip; do
        if ! command -v "$command" >/dev/null; then
            command -v apt-get >/dev/null || fail "found no $command and no apt-get; install Slurm, munge and iproute2"
            export DEBIAN_FRONTEND=noninteractive
            apt-get update -qq
            apt-get install -y -qq --no-install-recommends slurmctld slurmd slurm-client munge iproute2 >/dev/null
            return
        fi
    done
}

make_network() {
    local i node
    printf '127.0.0.1 localhost\n%s.254 ctl\n' "$network" >"$root/hosts"
    ip netns add pneumo-ctl
    ip -n pneumo-ctl link set lo up
    ip -n pneumo-ctl link add br0 type bridge
    ip -n pneumo-ctl addr add "$network.254/24" dev br0
    ip -n pneumo-ctl link set br0 up
    for i in "${!nodes[@]}"; do
        node=${nodes[i]}
        echo "$network.$((i + 1)) $node" >>"$root/hosts"
        ip netns add "pneumo-$node"
        ip -n "pneumo-$node" link set lo up
        ip -n pneumo-ctl link add "to-$node" type veth peer name eth0 netns "pneumo-$node"
        ip -n pneumo-ctl link set "to-$node" master br0 up
        ip -n "pneumo-$node" addr add "$network.$((i + 1))/24" dev eth0
        ip -n "pneumo-$node" link set eth0 up
    done
}

# Short timeouts, so that tests need not wait: a requeued job starts once its old credential has expired (120 s by
# default), a lost node is detected after SlurmdTimeout (300 s).
configure() {
    local i
    {
        cat <<CONF
ClusterName=pneumo
SlurmctldHost=ctl($network.254)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$root/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation=$root/state
SlurmdSpoolDir=$root/spool-%n
SlurmctldPidFile=$root/slurmctld.pid
SlurmdPidFile=$root/slurmd-%n.pid
SlurmctldLogFile=$root/slurmctld.log
SlurmdLogFile=$root/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=500
SchedulerParameters=sched_interval=2,bf_interval=2,sched_min_interval=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
SlurmdParameters=config_overrides
AccountingStorageType=accounting_storage/none
KillWait=60
SlurmdTimeout=10
MessageTimeout=8
MinJobAge=1800
PropagateResourceLimits=NONE
GresTypes=gpu
CONF
        for i in "${!nodes[@]}"; do
            echo "NodeName=${nodes[i]} NodeAddr=$network.$((i + 1)) CPUs=16 RealMemory=256000 Gres=gpu:2 State=UNKNOWN"
        done
        # LLN: jobs go to the node with the most idle cores, so that folds run on different nodes.
        echo "PartitionName=gpu Nodes=ALL Default=YES MaxTime=INFINITE PriorityTier=1 LLN=YES"
        echo "PartitionName=urgent Nodes=ALL Default=NO MaxTime=INFINITE PriorityTier=10 PreemptMode=OFF"
    } >"$SLURM_CONF"
    # Plain files instead of devices: enough for scheduling and for SLURM_GPUS_ON_NODE.
    touch "$root/gpu0" "$root/gpu1"
    echo "Name=gpu File=$root/gpu[0-1]" >"$root/gres.conf"
    echo "ConstrainDevices=no" >"$root/cgroup.conf"
}

# Run a command in a host's namespaces. (`ip netns exec` would hide /sys/fs/cgroup from slurmd.)
on() {
    local host=$1
    shift
    # shellcheck disable=SC2016
    exec nsenter --net="/run/netns/pneumo-$host" unshare --uts --mount --propagation slave bash -c '
        hostname "$1" && mount --bind "$2" /etc/hosts && shift 2 && exec "$@"' _ "$host" "$root/hosts" "$@"
}

# Each node has one core of this machine: with one thread in every rank all runs give the same bytes.
start_node() {
    local number=${1#n} cores
    read -ra cores <<<"$(python3 -c 'import os; print(*sorted(os.sched_getaffinity(0)))')"
    mkdir -p "$root/spool-$1"
    (on "$1" taskset -c "${cores[(number - 1) % ${#cores[@]}]}" slurmd -c -N "$1")
}

all_idle() {
    local idle
    idle=$(on ctl sinfo -h -N -p gpu -o %T 2>/dev/null | grep -cx idle) || true
    [[ $idle == "${#nodes[@]}" ]]
}

up() {
    if [[ -d $root ]] && all_idle; then
        return
    fi
    down
    install_packages
    mkdir -p "$root/state"
    make_network
    configure
    (umask 077 && head -c 1024 /dev/urandom >"$root/munge.key")
    munged --force --key-file="$root/munge.key" --socket="$root/munge.socket" --pid-file="$root/munged.pid" \
        --log-file="$root/munged.log" --seed-file="$root/munge.seed"
    (on ctl slurmctld -c)
    local node
    for node in "${nodes[@]}"; do
        start_node "$node"
    done
    wait_until_idle
}

wait_until_idle() {
    local _
    for _ in {1..150}; do
        all_idle && return
        sleep 0.2
    done
    tail -n 5 "$root"/*.log >&2
    fail "the nodes did not become idle within 30 s; the logs are above"
}

# Kill all processes of a namespace; only this script and Slurm start processes there.
empty() {
    local pids _
    for _ in {1..100}; do
        pids=$(ip netns pids "pneumo-$1" 2>/dev/null) || return 0
        [[ -n $pids ]] || return 0
        # shellcheck disable=SC2086
        kill -KILL $pids 2>/dev/null || true
        sleep 0.1
    done
    fail "processes of $1 cannot be killed: $pids"
}

down() {
    local host
    for host in ctl "${nodes[@]}"; do
        if [[ -e /run/netns/pneumo-$host ]]; then
            empty "$host"
            ip netns del "pneumo-$host"
        fi
    done
    if [[ -s $root/munged.pid ]]; then
        local pid _
        pid=$(<"$root/munged.pid")
        for _ in {1..50}; do
            [[ $(cat "/proc/$pid/comm" 2>/dev/null) == munged ]] || break
            kill "$pid" 2>/dev/null || true
            sleep 0.1
        done
    fi
    rm -rf "$root"
}

[[ $(id -u) == 0 ]] || fail "needs root, to make network namespaces and to start Slurm's daemons"
case ${1:-} in
    up) up ;;
    down) down ;;
    run)
        shift
        on ctl "$@"
        ;;
    lose)
        ip -n pneumo-ctl link set "to-$2" down
        empty "$2"
        ;;
    restore)
        ip -n pneumo-ctl link set "to-$2" up
        start_node "$2"
        wait_until_idle
        ;;
    *)
        sed -n '2,11s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
        exit 2
        ;;
esac
