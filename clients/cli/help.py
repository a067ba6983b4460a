"""What ``plan --help`` says: the words, nine examples, the exit codes."""

__all__ = ["OVERVIEW"]

OVERVIEW = """\
plan: how can this model train, or run, in this many bytes?

Usage: plan MODEL --budget 256KB [OPTIONS]
       plan COMMAND ...

MODEL is a .pt2 (torch.export), a .pt (a pickled module of torch.nn layers, with
--input), package.module:function (returns the module and example inputs), or a
graph file that plan trace wrote.  KB means 1024 bytes.

Examples:
  plan examples.mlperf_tiny:resnet8 --budget 256KB
      one training step, choosing what to update, recompute and where to put it
  plan net.pt2 --budget 1MB --batch 8 --update full --optimizer adam
      update everything; the micro-batch is chosen, gradients add up to batch 8
  plan net.pt --input 1x3x32x32:float32 --budget 64KB --mode infer
      one inference
  plan net.pt2 --budget 256KB --data samples.npz -o plan.json \\
       --graph-out graph.json --weights-out weights.safetensors
      rank layers on your samples (arrays x and y), keep everything
  plan net.pt2 --budget 250KB --start plan.json -o smaller.json
      for a few bytes less: go on from a plan, in an eighth of the time
  plan frontier net.pt2 --budgets 20 --svg frontier.svg
      what the model does in more and more bytes; more never cost more
  plan verify graph.json plan.json
      check a plan byte by byte, with code that the solver does not share
  plan run graph.json plan.json --weights weights.safetensors --against autograd
      run a step in one arena of that size, compare it with PyTorch's autograd
  plan export plan.json --to c -o build/project
      the same step as C that needs no library; make -C build/project run

Commands:
  solve    plan a model; the default: plan MODEL is plan solve MODEL
  frontier plan within a range of budgets, as a table and a picture
  trace    write a model's graph, list its layers
  verify   check a plan against its graph
  run      execute a planned step in one preallocated arena
  export   write a planned step as a C project
  pack     give buffers of given lifetimes their addresses
  serve    plan over HTTP
  (plan COMMAND --help lists the options; plan solve --help those of planning)

Exit codes: 0 fits, 1 proved not to fit, 2 usage, 3 bad model or data,
4 undecided in the time limit.  The result goes to stdout, progress to stderr.
"""
