using Hypervisor.Ctl.Errors;

namespace Hypervisor.Ctl.Specs;

/// <summary>Opens files that the user named, with errors a person understands.</summary>
internal static class InputFile
{
    /// <exception cref="CtlException">It does not exist, is a directory, or may not be read.</exception>
    public static FileStream Open(string path)
    {
        if (Directory.Exists(path))
        {
            throw CtlException.Usage($"{path} is a directory; a file is needed.");
        }

        try
        {
            return new(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite, bufferSize: 0);
        }
        catch (Exception exception) when (exception is FileNotFoundException or DirectoryNotFoundException)
        {
            throw CtlException.Usage($"{path} does not exist.");
        }
        catch (UnauthorizedAccessException)
        {
            throw CtlException.Usage($"{path} may not be read by you.", "Check its permissions, or run the command as its owner.");
        }
        catch (IOException exception)
        {
            throw CtlException.Usage($"{path} cannot be read: {exception.Message}");
        }
    }
}
