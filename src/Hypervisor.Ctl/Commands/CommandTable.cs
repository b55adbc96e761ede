namespace Hypervisor.Ctl.Commands;

/// <summary>Every command, one line each, in the order of the help.</summary>
internal static class CommandTable
{
    public static CommandGroup[] Groups { get; } =
    [
        new("instance", "Create, run and inspect instances",
        [
            new("create", "Create instances from flags, a file or both", static () => new Instances.CreateCommand()),
            new("update", "Change the specification of an instance", static () => new Instances.UpdateCommand()),
            new("list", "List instances", static () => new Instances.ListCommand()),
            new("get", "Show instances in detail", static () => new Instances.GetCommand()),
            new("start", "Start stopped instances", static () => new Instances.StartCommand()),
            new("stop", "Stop running instances", static () => new Instances.StopCommand()),
            new("restart", "Stop and start instances", static () => new Instances.RestartCommand()),
            new("pause", "Freeze running instances", static () => new Instances.PauseCommand()),
            new("suspend", "Write the memory of instances to disk and end their processes", static () => new Instances.SuspendCommand()),
            new("resume", "Continue paused and suspended instances", static () => new Instances.ResumeCommand()),
            new("delete", "Delete instances with their ephemeral disks", static () => new Instances.DeleteCommand()),
            new("console", "Attach to the console of an instance", static () => new Instances.ConsoleCommand()),
            new("exec", "Run a command in an instance", static () => new Instances.ExecCommand()),
            new("logs", "Print what an instance wrote", static () => new Instances.LogsCommand()),
            new("stats", "Show what an instance uses", static () => new Instances.StatsCommand()),
            new("cp", "Copy files and folders into an instance or out of it", static () => new Instances.CopyCommand()),
            new("why", "Explain where an instance was placed, or why it was not", static () => new Instances.WhyCommand()),
            new("clone", "Make an instance with copies of another's disks", static () => new Instances.CloneCommand()),
        ])
        {
            Groups =
            [
                new("snapshot", "Keep what the disks of VMs and microVMs hold, and go back to it",
                [
                    new("create", "Take a snapshot", static () => new Instances.Snapshots.CreateCommand()),
                    new("list", "List the snapshots of an instance", static () => new Instances.Snapshots.ListCommand()),
                    new("restore", "Put an instance back to a snapshot; what was written since is lost", static () => new Instances.Snapshots.RestoreCommand()),
                    new("delete", "Delete a snapshot", static () => new Instances.Snapshots.DeleteCommand()),
                ]),
            ],
        },
        new("group", "Groups: so many instances of one template",
        [
            new("create", "Create groups from flags, a file or both", static () => new Groups.CreateCommand()),
            new("update", "Change the template or the limits of a group; its members are replaced step by step", static () => new Groups.UpdateCommand()),
            new("scale", "Change how many members a group has", static () => new Groups.ScaleCommand()),
            new("rollback", "Go back to an earlier template of a group", static () => new Groups.RollBackCommand()),
            new("delete", "Delete groups with their members", static () => new Groups.DeleteCommand()),
            new("list", "List groups", static () => new Groups.ListCommand()),
            new("get", "Show groups in detail", static () => new Groups.GetCommand()),
            new("history", "List the templates that a group had", static () => new Groups.HistoryCommand()),
            new("why", "Explain where the members of a group are, and why others are nowhere", static () => new Groups.WhyCommand()),
        ]),
        new("image", "Images that instances run",
        [
            new("list", "List images", static () => new Images.ListCommand()),
            new("pull", "Fetch an image from a registry", static () => new Images.PullCommand()),
            new("import", "Take an archive, a disk image or a kernel set from a file or a URL", static () => new Images.ImportCommand()),
            new("inspect", "Show images in detail", static () => new Images.InspectCommand()),
            new("delete", "Delete images", static () => new Images.DeleteCommand()),
        ]),
        new("node", "Machines that run instances",
        [
            new("list", "List nodes", static () => new Nodes.ListCommand()),
            new("get", "Show nodes in detail", static () => new Nodes.GetCommand()),
            new("cordon", "Place no new instances on nodes", static () => new Nodes.CordonCommand()),
            new("uncordon", "Place new instances on nodes again", static () => new Nodes.UncordonCommand()),
            new("drain", "Mark nodes as draining: they take no new instances, and theirs move away where others have room", static () => new Nodes.DrainCommand()),
            new("taint", "Keep away from a node what does not tolerate it", static () => new Nodes.TaintCommand()),
            new("label", "Set and remove labels of a node", static () => new Nodes.LabelCommand()),
            new("set", "Say how much may be placed on a node", static () => new Nodes.SetCommand()),
            new("adopt", "Make unclaimed instances of a node the cluster's again", static () => new Nodes.AdoptCommand()),
            new("purge", "Destroy unclaimed instances of a node", static () => new Nodes.PurgeCommand()),
            new("delete", "Remove nodes from the cluster", static () => new Nodes.DeleteCommand()),
        ]),
        new("cluster", "The cluster as a whole",
        [
            new("info", "Show version, leader, store and totals", static () => new Clusters.InfoCommand()),
            new("what-if", "Try what would come of nodes lost or added and of instances to be placed", static () => new Clusters.WhatIfCommand()),
            new("rebalance", "Find instances that would be better elsewhere, and move them", static () => new Clusters.RebalanceCommand()),
            new("backup", "Write the cluster's records to a file", static () => new Clusters.BackupCommand()),
            new("restore", "Fill the empty store of a stopped server from a backup", static () => new Clusters.RestoreCommand()),
        ]),
        new("config", "Contexts: named servers and projects",
        [
            new("get-contexts", "List contexts", static () => new Contexts.GetContextsCommand()),
            new("current-context", "Print the context in use", static () => new Contexts.CurrentContextCommand()),
            new("use-context", "Use a context from now on", static () => new Contexts.UseContextCommand()),
            new("set-context", "Create or change a context", static () => new Contexts.SetContextCommand()),
            new("delete-context", "Delete a context", static () => new Contexts.DeleteContextCommand()),
        ]),
        new("completion", "Print a completion script for a shell",
        [
            new("bash", "source <(hypervisor-ctl completion bash)", static () => new Completions.ScriptCommand(Completion.Shell.Bash)),
            new("zsh", "source <(hypervisor-ctl completion zsh)", static () => new Completions.ScriptCommand(Completion.Shell.Zsh)),
            new("fish", "hypervisor-ctl completion fish | source", static () => new Completions.ScriptCommand(Completion.Shell.Fish)),
        ]),
    ];

    /// <summary>Commands without a group.</summary>
    public static CommandEntry[] Commands { get; } =
    [
        new("events", "List what happened in the cluster", static () => new EventsCommand()),
        new("version", "Print the version of this program", static () => new VersionCommand()),
        new("__complete", "What may come next on a command line; called by the completion scripts", static () => new Completions.CompleteCommand()) { Hidden = true },
    ];
}
