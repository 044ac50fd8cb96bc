#!/bin/sh
# Three precisions on two games with the same seeds. Run the script again to resume it.
#   sh results/precision/run.sh runs/precision [SEEDS]
set -e
out=${1:?folder}
for seed in ${2:-1 2 3 4 5}; do
    for game in Breakout SpaceInvaders; do
        for variant in bfloat16-fused float32-fused float32-reference; do
            run=$out/$game/$variant/seed-$seed
            [ -f "$run/evaluation.json" ] && continue
            case $variant in *reference) HADAMAX_KERNELS=reference ;; *) HADAMAX_KERNELS=auto ;; esac
            export HADAMAX_KERNELS
            if [ -f "$run/config.toml" ]; then
                hadamax resume "$run"
            else
                hadamax train pqn --env "MinAtar/$game-v1" --encoder hadamax-minatar --frames 1_000_000 --num-envs 64 \
                    --num-minibatches 16 --precision "${variant%%-*}" --threads 1 --seed "$seed" --out "$run"
            fi
            hadamax evaluate "$run" --episodes 30 --threads 1
        done
    done
done
