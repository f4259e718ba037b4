ipvsadm -A -t 192.0.2.10:21 -s rr
ipvsadm -a -t 192.0.2.10:21 -r 198.51.100.11:21 -m
ipvsadm -A -t 192.0.2.10:80 -s rr -p 60
ipvsadm -A -t [2001:db8:1::10]:80 -s rr
ipvsadm -a -t 192.0.2.10:80 -r 198.51.100.255:80 -m || echo refused 198.51.100.255
ipvsadm -a -t 192.0.2.10:80 -r 192.0.2.255:80 -m || echo refused 192.0.2.255
ipvsadm -a -t 192.0.2.10:80 -r 198.51.100.0:80 -m || echo refused 198.51.100.0
ipvsadm -a -t 192.0.2.10:80 -r 192.0.2.0:80 -m || echo refused 192.0.2.0
ipvsadm -a -t 192.0.2.10:80 -r 127.255.255.255:80 -m || echo refused 127.255.255.255
ipvsadm -a -t 192.0.2.10:80 -r 127.0.0.1:80 -m || echo refused 127.0.0.1
ipvsadm -a -t 192.0.2.10:80 -r 255.255.255.255:80 -m || echo refused 255.255.255.255
ipvsadm -a -t 192.0.2.10:80 -r 0.0.0.0:80 -m || echo refused 0.0.0.0
ipvsadm -a -t 192.0.2.10:80 -r 198.51.255.255:80 -m || echo refused 198.51.255.255
ipvsadm -a -t 192.0.2.10:80 -r 192.0.2.1:80 -m || echo refused 192.0.2.1
ip addr add 10.9.0.1/16 dev eth1
ipvsadm -a -t 192.0.2.10:80 -r 10.9.255.255:80 -m || echo refused
ip addr add 10.8.0.0/31 dev eth1
ipvsadm -a -t 192.0.2.10:80 -r 10.8.0.1:80 -m || echo refused
ipvsadm -d -t 192.0.2.10:80 -r 198.51.100.0:80
ipvsadm -d -t 192.0.2.10:80 -r 192.0.2.0:80
ipvsadm -d -t 192.0.2.10:80 -r 127.0.0.1:80
ipvsadm -d -t 192.0.2.10:80 -r 198.51.255.255:80
ipvsadm -d -t 192.0.2.10:80 -r 192.0.2.1:80
ipvsadm -d -t 192.0.2.10:80 -r 10.8.0.1:80
ipvsadm -a -t 192.0.2.10:80 -r 198.51.100.12:80 -m
ipvsadm -a -t [2001:db8:1::10]:80 -r [2001:db8:2::11]:80 -m
