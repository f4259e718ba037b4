# Runs each line of a file of commands and prints it, what it says on both outputs, and its exit code. The same in the oracle's
# kernel and with pollvsd: sh transcript.sh COMMANDS FOLDER, the folder being where commands keep files ($W).
export W="$2" LC_ALL=C
while IFS= read -r line; do
    printf '$ %s\n' "$line"
    eval "$line" 2>&1 </dev/null
    echo "rc=$?"
done <"$1"
