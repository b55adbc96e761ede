using Hypervisor.Ctl.Configuration;
using Hypervisor.Ctl.Errors;

namespace Hypervisor.Ctl.Commands.Contexts;

internal static class ContextErrors
{
    public static CtlException NotFound(ContextFile file, string name) => CtlException.Usage(
        $"There is no context '{name}' in {file.Path}.",
        file.Contexts.Count == 0 ? "It holds none." : $"It holds {string.Join(", ", file.Contexts.Select(context => context.Name))}.");
}
