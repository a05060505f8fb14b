#include "core/tool/tool.h"

int main(int argc, char **argv)
{
    return nv_tool_main(argc, argv);
}
