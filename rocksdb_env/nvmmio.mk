nvmmio_SOURCES = file_system.cc files.cc register.cc settings.cc statistics.cc status.cc
nvmmio_HEADERS = nvmmio_rocksdb.h
nvmmio_FUNC = nvmmio_rocksdb_plugin
nvmmio_CXXFLAGS = -Iplugin/nvmmio/..
nvmmio_LDFLAGS = $(shell plugin/nvmmio/build_engine) -lpmem -lxxhash
